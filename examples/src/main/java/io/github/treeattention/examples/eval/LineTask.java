package io.github.treeattention.examples.eval;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.github.treeattention.examples.InputException;
import io.github.treeattention.examples.text.Tokenizer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.TreeSet;

/**
 * LongEval's line retrieval (the task of the Ring Attention paper): many lines with a name and a number each, then a
 * question for one line's number. Cases are drawn here in LongEval's form, or read from its files.
 */
public final class LineTask {
    private static final int ANSWER_TOKENS = 16;
    private static final int MAX_LINES = 100_000;
    private static final String HEAD = "Below is a record of lines I want you to remember. Each line begins with 'line"
            + " <line index>' and contains a '<REGISTER_CONTENT>' at the end of the line as a numerical value. For each"
            + " line index, memorize its corresponding <REGISTER_CONTENT>. At the end of the record, I will ask you to"
            + " retrieve the corresponding <REGISTER_CONTENT> of a certain line index. Now the record start:\n\n";
    private static final String[] FIRST = {
        "amber", "brisk", "calm", "dusty", "eager", "faint", "gentle", "hollow", "icy", "jolly", "keen", "lively",
        "mellow", "narrow", "olive", "patient", "quiet", "rusty", "silent", "tender", "upper", "velvet", "windy",
        "young", "zealous", "bitter", "clever", "distant", "early", "frozen", "golden", "humble", "ivory", "loyal",
        "modest", "noble", "plain", "rapid", "sunny", "tidy"
    };
    private static final String[] SECOND = {
        "anchor", "basket", "candle", "desert", "engine", "feather", "garden", "harbor", "island", "jacket", "kettle",
        "ladder", "meadow", "needle", "orchard", "pillow", "quarry", "ribbon", "saddle", "temple", "valley", "window",
        "barrel", "bridge", "copper", "dragon", "falcon", "hammer", "lantern", "mirror", "oyster", "parrot", "river",
        "shovel", "tunnel", "violin", "walnut", "wagon", "yogurt", "zipper"
    };
    /** The most lines that can be drawn with different names. */
    public static final int MOST_DRAWN = FIRST.length * SECOND.length;

    private LineTask() {}

    /** A question in LongEval's form. */
    private record Question(String prompt, String number, int line, int lines) {}

    /**
     * Draws cases.
     *
     * @param counts lines of each column's records, at most {@link #MOST_DRAWN}
     * @param depths rows: as many equal parts of the record that the line is in
     * @param cases for each cell of the table; a cell stays empty where no line is, in records of fewer lines than depths
     */
    public static EvaluationPlan draw(Tokenizer tokenizer, List<Integer> counts, int depths, int cases, long seed) {
        SplittableRandom random = new SplittableRandom(seed);
        List<Question> questions = new ArrayList<>();
        for (int lines : counts) {
            for (int row = 0; row < depths; row++) {
                int from = firstLine(lines, row, depths);
                int to = firstLine(lines, row + 1, depths);
                for (int i = 0; from < to && i < cases; i++) {
                    questions.add(question(lines, random.nextInt(from, to), random.split()));
                }
            }
        }
        return plan(questions, tokenizer, depths);
    }

    /**
     * Cases of a file as LongEval publishes them: a JSON object a line, with {@code prompt}, {@code expected_number},
     * {@code num_lines} and {@code random_idx}, whose second element is the line's index.
     *
     * @param most how many to take, from the first on
     * @throws InputException if a line is none of that form
     */
    public static EvaluationPlan read(List<String> jsonLines, Tokenizer tokenizer, int depths, int most) {
        JsonMapper mapper = new JsonMapper();
        List<Question> questions = new ArrayList<>();
        for (int i = 0; i < Math.min(most, jsonLines.size()); i++) {
            try {
                questions.add(question(mapper.readTree(jsonLines.get(i)), i + 1));
            } catch (JsonProcessingException failure) {
                throw new InputException(
                        "line " + (i + 1) + " of the cases must be a JSON object: " + failure.getOriginalMessage(),
                        failure);
            }
        }
        if (questions.isEmpty()) {
            throw new InputException("the cases must be one JSON object a line: the file has no line");
        }
        return plan(questions, tokenizer, depths);
    }

    private static Question question(JsonNode node, int number) {
        JsonNode prompt = node.path("prompt");
        JsonNode expected = node.path("expected_number");
        int lines = node.path("num_lines").asInt(0);
        int line = node.path("random_idx").path(1).asInt(-1);
        if (!prompt.isTextual()
                || !expected.isIntegralNumber()
                || lines < 1
                || lines > MAX_LINES
                || line < 0
                || line >= lines) {
            throw new InputException("line " + number + " of the cases must have prompt, expected_number, num_lines"
                    + " (1.." + MAX_LINES + ") and random_idx ([name, index below num_lines])");
        }
        return new Question(prompt.textValue(), expected.asText(), line, lines);
    }

    /** The first line that {@link #plan} puts in a row. */
    private static int firstLine(int lines, int row, int depths) {
        return (int) (((long) lines * row + depths - 1) / depths);
    }

    /** A record of lines with different names and a question for one of them. */
    private static Question question(int lines, int asked, SplittableRandom random) {
        int[] names = new int[MOST_DRAWN];
        Arrays.setAll(names, i -> i);
        StringBuilder prompt = new StringBuilder(HEAD);
        String name = "";
        String number = "";
        for (int line = 0; line < lines; line++) {
            int pick = random.nextInt(line, names.length); // one step of a shuffle
            int drawn = names[pick];
            names[pick] = names[line];
            String here = FIRST[drawn / SECOND.length] + "-" + SECOND[drawn % SECOND.length];
            String value = String.valueOf(random.nextInt(1, 50_000));
            prompt.append("line ")
                    .append(here)
                    .append(": REGISTER_CONTENT is <")
                    .append(value)
                    .append(">\n");
            if (line == asked) {
                name = here;
                number = value;
            }
        }
        prompt.append("\nNow the record is over. Tell me what is the <REGISTER_CONTENT> in line ")
                .append(name)
                .append("? I need the number. ");
        return new Question(prompt.toString(), number, asked, lines);
    }

    private static EvaluationPlan plan(List<Question> questions, Tokenizer tokenizer, int depths) {
        TreeSet<Integer> counts = new TreeSet<>();
        questions.forEach(question -> counts.add(question.lines()));
        List<Integer> columns = List.copyOf(counts);
        List<EvaluationCase> cases = new ArrayList<>();
        for (Question question : questions) {
            int row = (int) ((long) question.line() * depths / question.lines());
            List<Integer> ids =
                    Arrays.stream(tokenizer.encode(question.prompt())).boxed().toList();
            cases.add(
                    new EvaluationCase(row, columns.indexOf(question.lines()), ids, ANSWER_TOKENS, question.number()));
        }
        List<String> rows = new ArrayList<>();
        for (int row = 0; row < depths; row++) {
            rows.add(100 * row / depths + "-" + 100 * (row + 1) / depths + " %");
        }
        return new EvaluationPlan(
                "lines retrieved",
                "depth",
                rows,
                "lines",
                columns.stream().map(String::valueOf).toList(),
                cases);
    }
}
