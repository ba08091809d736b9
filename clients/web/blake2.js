// BLAKE2b (RFC 7693), which files of codes are sealed with. For a few kilobytes.

const BLOCK = 128; // bytes
const ROUNDS = 12;
const START = BigUint64Array.of(
  0x6a09e667f3bcc908n, 0xbb67ae8584caa73bn, 0x3c6ef372fe94f82bn, 0xa54ff53a5f1d36f1n,
  0x510e527fade682d1n, 0x9b05688c2b3e6c1fn, 0x1f83d9abfb41bd6bn, 0x5be0cd19137e2179n,
);
const ORDER = [
  "0123456789abcdef", "ea489fd61c02b753", "b8c052fdae367194", "7931dcbe265a40f8", "905724afe1bc683d",
  "2c6a0b834d75fe19", "c51fed4a0763928b", "db7ec13950f4862a", "6fe9b308c2d714a5", "a2847615fb9e3cd0",
].map((row) => [...row].map((digit) => parseInt(digit, 16)));
const MIXED = [
  [0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15],
  [0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14],
];

/** The digest of bytes: `size` bytes, 1 to 64. */
export function blake2b(bytes, size) {
  const state = START.slice();
  state[0] ^= 0x01010000n ^ BigInt(size);
  const blocks = Math.max(1, Math.ceil(bytes.length / BLOCK));
  for (let i = 1; i <= blocks; i++) {
    const block = new Uint8Array(BLOCK);
    block.set(bytes.subarray((i - 1) * BLOCK, i * BLOCK));
    const taken = Math.min(i * BLOCK, bytes.length);
    compress(state, new BigUint64Array(block.buffer), BigInt(taken), i === blocks);
  }
  return new Uint8Array(state.buffer).slice(0, size);
}

function compress(state, words, taken, isLast) {
  const v = new BigUint64Array(16); // sums wrap around by themselves
  v.set(state);
  v.set(START, 8);
  v[12] ^= taken;
  if (isLast) v[14] = ~v[14];
  for (let round = 0; round < ROUNDS; round++) {
    const order = ORDER[round % ORDER.length];
    MIXED.forEach(([a, b, c, d], i) => {
      v[a] += v[b] + words[order[2 * i]];
      v[d] = turned(v[d] ^ v[a], 32n);
      v[c] += v[d];
      v[b] = turned(v[b] ^ v[c], 24n);
      v[a] += v[b] + words[order[2 * i + 1]];
      v[d] = turned(v[d] ^ v[a], 16n);
      v[c] += v[d];
      v[b] = turned(v[b] ^ v[c], 63n);
    });
  }
  for (let i = 0; i < state.length; i++) state[i] ^= v[i] ^ v[i + 8];
}

/** 64 bits turned to the right. */
function turned(word, bits) {
  return (word >> bits) | (word << (64n - bits));
}
