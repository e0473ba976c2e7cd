package io.github.treeattention.collective.tcp;

import io.github.treeattention.collective.CommunicatorContract;
import io.github.treeattention.collective.ProcessGroup;
import io.github.treeattention.collective.Transport;
import java.nio.file.Path;
import java.util.Optional;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.io.TempDir;

class TlsCommunicatorTest extends CommunicatorContract {
    @TempDir
    private static Path directory;

    private static Tls tls;
    private final TcpGroups groups = new TcpGroups(Optional.of(tls));

    @BeforeAll
    static void makeKeys() throws Exception {
        tls = TlsFiles.tls(TlsFiles.keystore(directory, "treeattn"));
    }

    @Override
    protected Transport join(ProcessGroup group) throws Exception {
        return groups.join(group);
    }

    @Override
    protected int maxFrameLength() {
        return TcpLink.MAX_FRAME_LENGTH;
    }
}
