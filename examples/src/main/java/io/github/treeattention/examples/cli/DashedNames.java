package io.github.treeattention.examples.cli;

import io.github.treeattention.collective.dataplane.DataPlaneOptions;
import io.github.treeattention.examples.DecoderOptions;
import io.github.treeattention.examples.bench.DecodeRank;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** Names of constants as options spell them: {@code RING_REFERENCE} is {@code ring-reference}. */
final class DashedNames {
    private DashedNames() {}

    static String of(Enum<?> constant) {
        return constant.name().toLowerCase(Locale.ROOT).replace('_', '-');
    }

    private static <E extends Enum<E>> E parse(Class<E> type, String text) {
        List<String> names =
                Arrays.stream(type.getEnumConstants()).map(DashedNames::of).toList();
        int found = names.indexOf(text.toLowerCase(Locale.ROOT));
        if (found < 0) {
            throw new TypeConversionException("expected one of " + names + " but was '" + text + "'");
        }
        return type.getEnumConstants()[found];
    }

    /** For {@code --strategy}. */
    static final class Strategies implements ITypeConverter<RankSettings.Strategy> {
        @Override
        public RankSettings.Strategy convert(String text) {
            return parse(RankSettings.Strategy.class, text);
        }
    }

    /** For {@code --transport}. */
    static final class LinkNames implements ITypeConverter<DataPlaneOptions.Links> {
        @Override
        public DataPlaneOptions.Links convert(String text) {
            return parse(DataPlaneOptions.Links.class, text);
        }
    }

    /** For {@code --forms}. */
    static final class Forms implements ITypeConverter<DecodeRank.Form> {
        @Override
        public DecodeRank.Form convert(String text) {
            return parse(DecodeRank.Form.class, text);
        }
    }

    /** For {@code --prefill}. */
    static final class Prefills implements ITypeConverter<DecoderOptions.Prefill> {
        @Override
        public DecoderOptions.Prefill convert(String text) {
            return parse(DecoderOptions.Prefill.class, text);
        }
    }
}
