package io.github.treeattention.architecture;

import static com.tngtech.archunit.core.domain.JavaCall.Predicates.target;
import static com.tngtech.archunit.core.domain.properties.HasName.Predicates.name;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;
import static org.junit.jupiter.api.Assertions.assertEquals;

import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.domain.JavaModifier;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import com.tngtech.archunit.lang.ArchRule;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/** Which package may know which: the rules of docs/architecture.md, and the list of public types. */
class ArchitectureTest {
    private static final String ROOT = "io.github.treeattention.";
    private static final JavaClasses CLASSES = new ClassFileImporter()
            .withImportOption(new ImportOption.DoNotIncludeTests())
            .importPackages("io.github.treeattention");

    @Test
    void aeronStaysInItsPackage() {
        check(noClasses()
                .that()
                .resideOutsideOfPackage(ROOT + "collective.aeron..")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage("io.aeron..", "org.agrona.."));
    }

    @Test
    void collectiveKnowsTheJdkOnly() {
        check(classes()
                .that()
                .resideInAPackage(ROOT + "collective")
                .should()
                .onlyDependOnClassesThat()
                .resideInAnyPackage("java..", "javax.crypto..", "jdk.jfr..", ROOT + "collective"));
    }

    @Test
    void tcpKnowsTheJdkOnly() {
        check(classes()
                .that()
                .resideInAPackage(ROOT + "collective.tcp")
                .should()
                .onlyDependOnClassesThat()
                .resideInAnyPackage("java..", "javax.net.ssl..", ROOT + "collective", ROOT + "collective.tcp"));
    }

    @Test
    void theVocabularyKnowsNoNetwork() {
        check(noClasses()
                .that()
                .resideInAnyPackage(ROOT + "attention", ROOT + "cache", ROOT + "kernel")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage(
                        ROOT + "collective..",
                        ROOT + "distributed..",
                        ROOT + "launch..",
                        ROOT + "samediff..",
                        "org.nd4j.."));
    }

    @Test
    void collectivesKnowNoAttention() {
        check(noClasses()
                .that()
                .resideInAnyPackage(ROOT + "collective..", ROOT + "launch..")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage(
                        ROOT + "attention..",
                        ROOT + "cache..",
                        ROOT + "kernel..",
                        ROOT + "distributed..",
                        "org.nd4j.."));
    }

    @Test
    void distributedKnowsNoProcesses() {
        check(noClasses()
                .that()
                .resideInAPackage(ROOT + "distributed")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage(ROOT + "launch..", ROOT + "collective.aeron..", "org.nd4j.."));
    }

    @Test
    void nd4jStaysInSamediff() {
        check(noClasses()
                .that()
                .resideOutsideOfPackage(ROOT + "samediff..")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage("org.nd4j..", "org.bytedeco.."));
    }

    @Test
    void coreNeverNamesDl4jOrOtherModules() {
        check(noClasses()
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage(
                        "org.deeplearning4j..", ROOT + "nativeops..", ROOT + "dl4j..", ROOT + "examples.."));
    }

    @Test
    void noCycles() {
        check(slices().matching(ROOT + "(**)").should().beFreeOfCycles());
    }

    @Test
    void mainCodeLeavesTheProcessAlone() {
        check(noClasses()
                .that()
                .resideOutsideOfPackage(ROOT + "launch..")
                .should()
                .callMethod(System.class, "setProperty", String.class, String.class)
                .orShould()
                .callMethod(System.class, "exit", int.class)
                .orShould()
                .accessField(System.class, "out")
                .orShould()
                .accessField(System.class, "err")
                .orShould()
                .callMethodWhere(target(name("printStackTrace"))));
    }

    @Test
    void samediffKnowsNoNetwork() {
        check(noClasses()
                .that()
                .resideInAPackage(ROOT + "samediff..")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage(ROOT + "collective..", ROOT + "launch..", ROOT + "distributed.."));
    }

    @Test
    void theVocabularyStandsAlone() {
        check(classes()
                .that()
                .resideInAPackage(ROOT + "attention")
                .should()
                .onlyDependOnClassesThat()
                .resideInAnyPackage("java..", ROOT + "attention"));
    }

    /** A new public type is a decision, so it shows up in a diff of public-types.txt. */
    @Test
    void publicTypesAreListed() {
        List<String> found = CLASSES.stream()
                .filter(type -> type.getModifiers().contains(JavaModifier.PUBLIC))
                .filter(type -> type.getEnclosingClass()
                        .map(outer -> outer.getModifiers().contains(JavaModifier.PUBLIC))
                        .orElse(true))
                .map(JavaClass::getName)
                .sorted()
                .collect(Collectors.toList());
        try {
            Files.write(Path.of("target/public-types.txt"), found);
            assertEquals(
                    String.join("\n", Files.readAllLines(Path.of("src/test/resources/public-types.txt"))),
                    String.join("\n", found),
                    "src/test/resources/public-types.txt lists the public types; if you mean the change, copy"
                            + " target/public-types.txt over it");
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static void check(ArchRule rule) {
        rule.check(CLASSES); // fails too where a package that it names is not there
    }
}
