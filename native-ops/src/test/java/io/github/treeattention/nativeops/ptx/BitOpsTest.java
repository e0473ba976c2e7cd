package io.github.treeattention.nativeops.ptx;

import static io.github.treeattention.nativeops.ptx.Snippet.one;
import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.Test;

class BitOpsTest {

    @Test
    void shouldShiftEverythingOutBeyondTheWidth() {
        assertEquals(0xfffffff0L, one("shl.b32 %r0, %r1, %r2;", "%r0", -1, 4));
        assertEquals(0, one("shl.b32 %r0, %r1, %r2;", "%r0", -1, 32));
        assertEquals(0, one("shl.b32 %r0, %r1, %r2;", "%r0", -1, -1));
        assertEquals(0xfff0, one("shl.b16 %rs0, %rs1, %r2;", "%rs0", -1, 4));
        assertEquals(0, one("shl.b16 %rs0, %rs1, %r2;", "%rs0", -1, 16));
        assertEquals(1L << 63, one("shl.b64 %rd0, %rd1, %r2;", "%rd0", 1, 63));
        assertEquals(0, one("shl.b64 %rd0, %rd1, %r2;", "%rd0", -1, 64));
        assertEquals(0xfffffff, one("shr.u32 %r0, %r1, %r2;", "%r0", -1, 4));
        assertEquals(0, one("shr.u32 %r0, %r1, %r2;", "%r0", -1, 33));
        assertEquals(0xfff, one("shr.b16 %rs0, %rs1, %r2;", "%rs0", -1, 4));
        assertEquals(1, one("shr.u64 %rd0, %rd1, %r2;", "%rd0", -1, 63));
        assertEquals(0, one("shr.u64 %rd0, %rd1, %r2;", "%rd0", -1, 64));
    }

    @Test
    void shouldShiftSignsIn() {
        assertEquals(0xf8000000L, one("shr.s32 %r0, %r1, 4;", "%r0", 0x80000000L));
        assertEquals(0xffffffffL, one("shr.s32 %r0, %r1, 99;", "%r0", 0x80000000L));
        assertEquals(0, one("shr.s32 %r0, %r1, 99;", "%r0", 0x7fffffffL));
        assertEquals(0xffff, one("shr.s16 %rs0, %rs1, 20;", "%rs0", 0x8000));
        assertEquals(-1, one("shr.s64 %rd0, %rd1, 64;", "%rd0", Long.MIN_VALUE));
        assertEquals(-2, one("shr.s64 %rd0, %rd1, 62;", "%rd0", Long.MIN_VALUE));
    }

    @Test
    void shouldShiftTwoRegistersAsOne() {
        long low = 0x89abcdefL;
        long high = 0x01234567L;
        assertEquals(0x12345678L, one("shf.l.wrap.b32 %r0, %r1, %r2, 4;", "%r0", low, high));
        assertEquals(0x12345678L, one("shf.l.wrap.b32 %r0, %r1, %r2, 36;", "%r0", low, high));
        assertEquals(0x89abcdefL, one("shf.l.clamp.b32 %r0, %r1, %r2, 36;", "%r0", low, high));
        assertEquals(0x789abcdeL, one("shf.r.wrap.b32 %r0, %r1, %r2, 4;", "%r0", low, high));
        assertEquals(0x01234567L, one("shf.r.clamp.b32 %r0, %r1, %r2, -1;", "%r0", low, high));
        assertEquals(0x89abcdefL, one("shf.r.clamp.b32 %r0, %r1, %r2, 0;", "%r0", low, high));
    }

    @Test
    void shouldExtractAndInsertFields() {
        assertEquals(0xb, one("bfe.u32 %r0, %r1, 4, 4;", "%r0", 0x5ab5));
        assertEquals(0xfffffffbL, one("bfe.s32 %r0, %r1, 4, 4;", "%r0", 0x5ab5));
        assertEquals(0, one("bfe.s32 %r0, %r1, 4, 0;", "%r0", 0xffff));
        assertEquals(0xffffffffL, one("bfe.s32 %r0, %r1, 31, 8;", "%r0", 0x80000000L));
        assertEquals(1, one("bfe.u32 %r0, %r1, 31, 8;", "%r0", 0x80000000L));
        assertEquals(0, one("bfe.u32 %r0, %r1, 40, 8;", "%r0", -1));
        assertEquals(0x80000000L, one("bfe.u32 %r0, %r1, 0, 32;", "%r0", 0x80000000L));
        assertEquals(0xff5fL, one("bfi.b32 %r0, %r1, %r2, 4, 4;", "%r0", 5, 0xffff));
        assertEquals(0x12345678L, one("bfi.b32 %r0, %r1, %r2, 0, 32;", "%r0", 0x12345678, -1));
        assertEquals(0xffffL, one("bfi.b32 %r0, %r1, %r2, 32, 4;", "%r0", 5, 0xffff));
        assertEquals(0xffffL, one("bfi.b32 %r0, %r1, %r2, 3, 0;", "%r0", 5, 0xffff));
        assertEquals(0x5000ffffL, one("bfi.b32 %r0, %r1, %r2, 28, 9;", "%r0", 0x15, 0xffff));
    }

    @Test
    void shouldPermuteBytes() {
        assertEquals(0x55443322L, one("prmt.b32 %r0, %r1, %r2, 0x4321;", "%r0", 0x44332211, 0x88776655L));
        assertEquals(0x00ff00ffL, one("prmt.b32 %r0, %r1, %r2, 0x8f8f;", "%r0", 0x44332211, 0x88776655L));
    }

    @Test
    void shouldComputeAnyFunctionOfThreeBits() {
        for (int table = 0; table < 256; table++) {
            long got = one("lop3.b32 %r0, %r1, %r2, %r3, " + table + ";", "%r0", 0xf0, 0xcc, 0xaa);
            assertEquals(table, got & 0xff);
        }
    }
}
