package io.github.treeattention.examples.cli;

import io.github.treeattention.testkit.Seeds;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Whatever the user gets wrong: a clear message, exit code 2, and nothing left running. */
@Timeout(value = 1, unit = TimeUnit.MINUTES)
class BadInputTest {
    private static final String KJV = "../models/kjv-llama";

    @TempDir
    private Path temporary;

    @Test
    void shouldNameTheMissingModel() throws Exception {
        generate("/nowhere/model.bin", "--ranks", "3").assertBadInput("there is none", "/nowhere/model.bin");
    }

    @ParameterizedTest
    @ValueSource(strings = {"0", "-1", "9"})
    void shouldRefuseOtherNumbersOfRanks(String ranks) throws Exception {
        generate(KJV, "--ranks", ranks).assertBadInput("--ranks must be 1..8: got " + ranks);
    }

    @ParameterizedTest
    @ValueSource(longs = {0, 3, 7, 8, 100, 20_000, 2_630_759})
    void shouldRefuseTruncatedSafetensors(long length) throws Exception {
        Path model = copyOfKjv();
        Path weights = model.resolve("model.safetensors");
        byte[] whole = Files.readAllBytes(weights);
        Files.write(weights, Arrays.copyOf(whole, (int) length));
        generate(model.toString()).assertBadInput("model.safetensors");
    }

    @Test
    void shouldSurviveFuzzedSafetensorsHeaders() throws Exception {
        SplittableRandom random = Seeds.random("shouldSurviveFuzzedSafetensorsHeaders");
        Path model = copyOfKjv();
        Path weights = model.resolve("model.safetensors");
        byte[] whole = Files.readAllBytes(weights);
        for (int trial = 0; trial < 50; trial++) {
            byte[] broken = whole.clone();
            broken[random.nextInt(8)] = (byte) (1 + random.nextInt(255)); // the header's length, never what it was
            broken[8 + random.nextInt(200)] = (byte) random.nextInt(256);
            if (Arrays.equals(broken, 0, 8, whole, 0, 8)) {
                continue;
            }
            Files.write(weights, broken);
            generate(model.toString()).assertBadInput("model.safetensors");
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 5, 27, 28, 1000})
    void shouldRefuseTruncatedLlama2cFiles(int length) throws Exception {
        byte[] header = new byte[Math.max(length, 28)];
        int[] sizes = {64, 172, 5, 8, 4, 512, 512};
        for (int i = 0; i < sizes.length; i++) {
            header[4 * i] = (byte) sizes[i];
            header[4 * i + 1] = (byte) (sizes[i] >> 8);
        }
        Path model = temporary.resolve("short.bin");
        Files.write(model, Arrays.copyOf(header, length));
        generate(model.toString()).assertBadInput("short.bin");
    }

    @Test
    void shouldNotAllocateWhatAHeaderAnnounces() throws Exception {
        byte[] header = new byte[28];
        Arrays.fill(header, (byte) 0x7f); // every size is 2139062143
        Path model = temporary.resolve("huge.bin");
        Files.write(model, header);
        generate(model.toString()).assertBadInput("huge.bin");
    }

    @Test
    void shouldRefuseATokenizerOfAnotherSize() throws Exception {
        Path model = copyOfKjv();
        Path tokenizer = model.resolve("tokenizer.json");
        // One token less than the model's vocabulary has.
        String json = Files.readString(tokenizer);
        int last = json.lastIndexOf("1023");
        int comma = json.lastIndexOf(',', last);
        Files.writeString(tokenizer, json.substring(0, comma) + json.substring(last + 4));
        generate(model.toString())
                .assertBadInput("the tokenizer must have the model's tokens 0..1023: 1023 is not there");
    }

    @Test
    void shouldSayWhatIsWrongWithThePromptFile() throws Exception {
        Treeattn.run("generate", "--model", KJV, "--prompt-file", "/nowhere.txt")
                .assertBadInput("--prompt-file must be a readable file: /nowhere.txt");
        Path latin1 = temporary.resolve("latin1.txt");
        Files.write(latin1, "caf\u00e9".getBytes(StandardCharsets.ISO_8859_1));
        Treeattn.run("generate", "--model", KJV, "--prompt-file", latin1.toString())
                .assertBadInput("--prompt-file must be UTF-8 text");
    }

    /** The memory that so many tokens take is asked for nowhere: it is counted before anything starts. */
    @Test
    void shouldSayHowMuchMemoryIsNeededAndHowMuchThereIs() throws Exception {
        generate(KJV, "--ranks", "4", "--max-tokens", "2000000000")
                .assertBadInput("2000000", "on 4 ranks of this host need 6.1 TB", "of keys and values", "free");
    }

    @Test
    void shouldRefuseNonsense() throws Exception {
        Treeattn.run().assertBadInput("a command is missing");
        Treeattn.run("generat").assertBadInput("generat");
        Treeattn.run("generate", "--model", KJV).assertBadInput("--prompt");
        generate(KJV, "--temperature", "-1").assertBadInput("--temperature must be 0 or more: got -1");
        generate(KJV, "--top-p", "0").assertBadInput("--top-p must be in (0, 1]: got 0");
        generate(KJV, "--max-tokens", "0").assertBadInput("--max-tokens must be at least 1: got 0");
        generate(KJV, "--kernel", "abacus").assertBadInput("--kernel must be one of", "got 'abacus'");
        generate(KJV, "--strategy", "bush").assertBadInput("bush");
        generate(KJV, "--hosts", "a:2,-oProxyCommand=x").assertBadInput("hosts and ranks", "-oProxyCommand=x");
        generate(KJV, "--hosts", "a:2,a:2").assertBadInput("each host once");
        generate(KJV, "--transport", "pigeon").assertBadInput("--transport", "pigeon");
    }

    private static Treeattn generate(String model, String... more) throws Exception {
        String[] args = new String[5 + more.length];
        System.arraycopy(new String[] {"generate", "--model", model, "--prompt", "And"}, 0, args, 0, 5);
        System.arraycopy(more, 0, args, 5, more.length);
        return Treeattn.run(args);
    }

    private Path copyOfKjv() throws Exception {
        for (String name : new String[] {"config.json", "model.safetensors", "tokenizer.json"}) {
            Files.copy(Path.of(KJV, name), temporary.resolve(name));
        }
        return temporary;
    }
}
