package io.github.treeattention.kernel;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.ServiceLoader;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Collectors;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Finds kernels: the plain-Java one and those of the providers on the class path. */
public final class AttentionKernels {
    /** System property that forces a provider by name. */
    public static final String PROPERTY = "treeattention.kernel";

    private static final Logger LOG = LoggerFactory.getLogger(AttentionKernels.class);
    /** Providers whose absence has been logged: once is enough. */
    private static final Set<String> TOLD = ConcurrentHashMap.newKeySet();

    private AttentionKernels() {}

    /** All providers, best first, usable or not. */
    public static List<AttentionKernelProvider> providers() {
        List<AttentionKernelProvider> found = new ArrayList<>();
        found.add(new JavaKernelProvider());
        ServiceLoader.load(AttentionKernelProvider.class, AttentionKernels.class.getClassLoader())
                .forEach(found::add);
        found.sort(Comparator.comparingInt(AttentionKernelProvider::priority).reversed());
        return List.copyOf(found);
    }

    /**
     * The kernel that {@code -Dtreeattention.kernel} names, or else the best usable one.
     *
     * @throws IllegalStateException if the named one does not exist or cannot run here
     */
    public static AttentionKernel choose() {
        String forced = System.getProperty(PROPERTY);
        if (forced != null && !forced.isEmpty()) {
            return named(forced);
        }
        for (AttentionKernelProvider provider : providers()) {
            Optional<Throwable> cause = provider.unavailabilityCause();
            if (cause.isEmpty()) {
                return provider.kernel();
            }
            if (TOLD.add(provider.name())) {
                LOG.warn(
                        "Kernel '{}' is not used: {}",
                        provider.name(),
                        cause.get().getMessage());
            }
        }
        throw new IllegalStateException("the plain-Java kernel can always run");
    }

    /**
     * The kernel of the provider with this name.
     *
     * @throws IllegalStateException if there is none, or it cannot run here; the message says why
     */
    public static AttentionKernel named(String name) {
        List<AttentionKernelProvider> providers = providers();
        for (AttentionKernelProvider provider : providers) {
            if (provider.name().equals(name)) {
                provider.unavailabilityCause().ifPresent(cause -> {
                    throw new IllegalStateException(
                            "kernel '" + name + "' cannot run here: " + cause.getMessage(), cause);
                });
                return provider.kernel();
            }
        }
        String known = providers.stream().map(AttentionKernelProvider::name).collect(Collectors.joining(", "));
        throw new IllegalStateException("no kernel is named '" + name + "': known are " + known);
    }
}
