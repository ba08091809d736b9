// Frames as the protocol packs them: 10 bits a code, the most significant first.

const BITS = 10;

/** Codes (k,), of a frame or of several one after the other, as bytes. */
export function packCodes(codes) {
  const bytes = new Uint8Array(Math.ceil((BITS * codes.length) / 8));
  codes.forEach((code, i) => {
    for (let bit = 0; bit < BITS; bit++) {
      const at = BITS * i + bit;
      if ((code >> (BITS - 1 - bit)) & 1) bytes[at >> 3] |= 0x80 >> (at & 7);
    }
  });
  return bytes;
}

/** Bytes of `frames` frames of `layers` codes -> an Int16Array (layers,) of each. */
export function unpackCodes(bytes, layers, frames) {
  if (bytes.length !== Math.ceil((BITS * layers * frames) / 8)) {
    throw new Error(`expected ${frames} frames of ${layers} codes, got ${bytes.length} bytes`);
  }
  let at = 0;
  const code = () => {
    let value = 0;
    for (let bit = 0; bit < BITS; bit++, at++) {
      value = (value << 1) | ((bytes[at >> 3] >> (7 - (at & 7))) & 1);
    }
    return value;
  };
  return Array.from({ length: frames }, () => Int16Array.from({ length: layers }, code));
}
