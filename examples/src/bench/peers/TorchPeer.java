import ai.djl.Model;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import ai.djl.pytorch.jni.JniUtils;
import ai.djl.training.ParameterStore;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;

/** PyTorch's scaled_dot_product_attention, called by TorchScript: a script of one line, which is written here. */
final class TorchPeer implements Peer {
    private static final String SDPA = "torch.scaled_dot_product_attention(q, k, v, None, 0., %s)";

    private final NDManager manager = NDManager.newBaseManager("PyTorch");

    TorchPeer(int threads) {
        JniUtils.setNumThreads(threads);
        JniUtils.setGradMode(true); // the gradients are taken within the script
    }

    @Override
    public String name() {
        return "PyTorch 2.7.1";
    }

    @Override
    public boolean knows(Shapes s) {
        return s.heads() == s.kvHeads() || s.mode() == Shapes.Mode.DECODE;
    }

    /** Decode with the heads of a group as rows of one head, PyTorch's fastest form: it then reads each key once. */
    @Override
    public Call prepare(Shapes s, float[] q, float[] k, float[] v) throws Exception {
        boolean decode = s.mode() == Shapes.Mode.DECODE, train = s.mode() == Shapes.Mode.TRAIN;
        String call = String.format(SDPA, decode ? "False" : "True");
        Model model = load(train ? "q k v g" : "q k v", train ? backward(call) : "    return (" + call + ", q)\n");
        int type = s.bytes() == 4 ? 6 : s.half() ? 5 : 15; // PyTorch's numbers of float32, float16, bfloat16
        Shape queries = decode
                ? new Shape(1, s.kvHeads(), s.heads() / s.kvHeads(), s.dim())
                : new Shape(1, s.heads(), s.length(), s.dim());
        Shape keys = new Shape(1, s.kvHeads(), s.length(), s.dim());
        NDList inputs = cast(type, new NDList(manager.create(q, queries), manager.create(k, keys), manager.create(v, keys)));
        if (train) {
            inputs.add(inputs.get(0));
        }
        ParameterStore store = new ParameterStore(manager, false);
        return new Call() {
            @Override
            public void run() {
                model.getBlock().forward(store, inputs, train).get(0).close();
            }

            @Override
            public float[] result() throws Exception {
                try (NDList out = model.getBlock().forward(store, inputs, train)) {
                    return cast(6, new NDList(out.get(0))).get(0).toFloatArray();
                }
            }

            @Override
            public void close() {
                inputs.close();
                model.close();
            }
        };
    }

    /** By PyTorch itself: DJL 0.36 ends the JVM where it converts to bfloat16. */
    private NDList cast(int type, NDList arrays) throws Exception {
        NDList result = new NDList();
        try (Model model = load("q", "    return (torch.to(q, " + type + ", False, True), q)\n")) {
            for (NDArray array : arrays) {
                result.add(model.getBlock().forward(new ParameterStore(manager, false), new NDList(array), true).get(0));
            }
        }
        return result;
    }

    private static Model load(String parameters, String body) throws Exception {
        Path file = Files.createTempFile("sdpa", ".pt");
        Files.write(file, script(parameters, body));
        Model model = Model.newInstance(file.getFileName().toString(), "PyTorch");
        model.load(file.getParent(), file.getFileName().toString().replaceAll("\\.pt$", ""));
        Files.delete(file);
        return model;
    }

    /** Forward and the gradients of all three inputs; g is the gradient of the output. */
    private static String backward(String call) {
        StringBuilder code = new StringBuilder();
        for (String x : new String[] {"q", "k", "v"}) {
            code.append("    ").append(x).append("1 = torch.requires_grad_(torch.detach(").append(x).append("), True)\n");
        }
        return code + "    gs = annotate(List[Optional[Tensor]], [g])\n    o = " + call.replaceFirst("\\(q, k, v", "(q1, k1, v1") + "\n"
                + "    grads = torch.grad([o], [q1, k1, v1], gs)\n"
                + "    return (torch.detach(o), torch._unwrap_optional(grads[0]))\n";
    }

    /** An archive as torch.jit.save writes it, of a module without parameters. */
    private static byte[] script(String parameters, String body) throws IOException {
        StringBuilder code = new StringBuilder("class M(Module):\n  __parameters__ = []\n  __buffers__ = []\n  training : bool\n");
        code.append("  def forward(self: __torch__.M");
        for (String parameter : parameters.split(" ")) {
            code.append(",\n    ").append(parameter).append(": Tensor");
        }
        code.append(") -> Tuple[Tensor, Tensor]:\n").append(body);
        ByteArrayOutputStream pickle = new ByteArrayOutputStream();
        text(pickle, "\u0080\u0002c__torch__\nM\n)\u0081}(X\b\0\0\0training\u0089ub."); // M() with training = False
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        try (ZipOutputStream zip = new ZipOutputStream(bytes)) {
            entry(zip, "m/data.pkl", pickle.toByteArray());
            entry(zip, "m/code/__torch__.py", code.toString().getBytes(StandardCharsets.UTF_8));
            entry(zip, "m/constants.pkl", new byte[] {(byte) 0x80, 2, ')', '.'});
            entry(zip, "m/version", "3\n".getBytes(StandardCharsets.UTF_8));
        }
        return bytes.toByteArray();
    }

    private static void text(OutputStream out, String latin) throws IOException {
        out.write(latin.getBytes(StandardCharsets.ISO_8859_1));
    }

    private static void entry(ZipOutputStream zip, String name, byte[] content) throws IOException {
        java.util.zip.CRC32 crc = new java.util.zip.CRC32();
        crc.update(content);
        ZipEntry entry = new ZipEntry(name);
        entry.setMethod(ZipEntry.STORED);
        entry.setSize(content.length);
        entry.setCompressedSize(content.length);
        entry.setCrc(crc.getValue());
        zip.putNextEntry(entry);
        zip.write(content);
        zip.closeEntry();
    }
}
