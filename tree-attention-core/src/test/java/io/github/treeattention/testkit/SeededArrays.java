package io.github.treeattention.testkit;

import org.junit.jupiter.api.extension.ExtensionContext;
import org.junit.jupiter.api.extension.TestInstanceFactoryContext;
import org.junit.jupiter.api.extension.TestInstancePreConstructCallback;
import org.nd4j.linalg.factory.Nd4j;

/** Gives ND4J's random generator a printed seed before each test and its fields: {@code @ExtendWith(SeededArrays.class)}. */
public final class SeededArrays implements TestInstancePreConstructCallback {
    @Override
    public void preConstructTestInstance(TestInstanceFactoryContext factory, ExtensionContext context) {
        Nd4j.getRandom()
                .setSeed(Seeds.random(factory.getTestClass().getSimpleName()).nextLong());
    }
}
