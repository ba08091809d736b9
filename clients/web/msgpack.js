// msgpack, as far as the protocol uses it: maps, arrays, strings, bytes, numbers, true, false, nil.

const utf8 = new TextEncoder();
const text = new TextDecoder("utf-8", { fatal: true });

/** One value as msgpack bytes. Keys of a map whose value is undefined or null are left out. */
export function pack(value) {
  const out = new Writer();
  out.value(value);
  return out.done();
}

/** The value that the bytes of an ArrayBuffer hold. Bytes in it are views of the buffer. */
export function unpack(buffer) {
  const reader = new Reader(buffer);
  const value = reader.value();
  if (reader.at !== buffer.byteLength) throw new Error("expected one msgpack value, got more");
  return value;
}

class Writer {
  #bytes = new Uint8Array(256);
  #at = 0;

  done() {
    return this.#bytes.subarray(0, this.#at);
  }

  value(value) {
    if (value === null || value === undefined) this.#head(0xc0);
    else if (value === true || value === false) this.#head(value ? 0xc3 : 0xc2);
    else if (typeof value === "number") this.#number(value);
    else if (typeof value === "string") this.#string(value);
    else if (value instanceof Uint8Array) this.#binary(value);
    else if (Array.isArray(value)) {
      this.#sized(value.length, [0x90, 16], 0, 0xdc);
      for (const item of value) this.value(item);
    } else {
      const entries = Object.entries(value).filter(([, item]) => item !== null && item !== undefined);
      this.#sized(entries.length, [0x80, 16], 0, 0xde);
      for (const [key, item] of entries) {
        this.#string(key);
        this.value(item);
      }
    }
  }

  #number(value) {
    if (Number.isInteger(value) && value >= 0 && value < 2 ** 32) {
      if (value < 128) this.#head(value);
      else if (value < 256) this.#head(0xcc, 1, (view, at) => view.setUint8(at, value));
      else if (value < 65536) this.#head(0xcd, 2, (view, at) => view.setUint16(at, value));
      else this.#head(0xce, 4, (view, at) => view.setUint32(at, value));
    } else this.#head(0xcb, 8, (view, at) => view.setFloat64(at, value));
  }

  #string(value) {
    const bytes = utf8.encode(value);
    this.#sized(bytes.length, [0xa0, 32], 0xd9, 0xda);
    this.#copy(bytes);
  }

  #binary(bytes) {
    this.#sized(bytes.length, null, 0xc4, 0xc5);
    this.#copy(bytes);
  }

  #sized(size, fix, one, two) {
    if (fix && size < fix[1]) this.#head(fix[0] | size);
    else if (one && size < 256) this.#head(one, 1, (view, at) => view.setUint8(at, size));
    else if (size < 65536) this.#head(two, 2, (view, at) => view.setUint16(at, size));
    else this.#head(two + 1, 4, (view, at) => view.setUint32(at, size));
  }

  #head(byte, size = 0, write = null) {
    this.#reserve(1 + size);
    this.#bytes[this.#at] = byte;
    if (write) write(new DataView(this.#bytes.buffer), this.#at + 1);
    this.#at += 1 + size;
  }

  #copy(bytes) {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  #reserve(more) {
    if (this.#at + more <= this.#bytes.length) return;
    const larger = new Uint8Array(2 * (this.#at + more));
    larger.set(this.#bytes);
    this.#bytes = larger;
  }
}

class Reader {
  at = 0;
  #view;

  constructor(buffer) {
    this.#view = new DataView(buffer);
  }

  value() {
    const head = this.#uint(1);
    if (head < 0x80) return head;
    if (head < 0x90) return this.#map(head & 15);
    if (head < 0xa0) return this.#array(head & 15);
    if (head < 0xc0) return this.#string(head & 31);
    if (head >= 0xe0) return head - 256;
    switch (head) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: case 0xc5: case 0xc6: return this.#binary(this.#uint(1 << (head - 0xc4)));
      case 0xca: return this.#view.getFloat32(this.#take(4));
      case 0xcb: return this.#view.getFloat64(this.#take(8));
      case 0xcc: case 0xcd: case 0xce: return this.#uint(1 << (head - 0xcc));
      case 0xcf: return Number(this.#view.getBigUint64(this.#take(8)));
      case 0xd0: return this.#view.getInt8(this.#take(1));
      case 0xd1: return this.#view.getInt16(this.#take(2));
      case 0xd2: return this.#view.getInt32(this.#take(4));
      case 0xd3: return Number(this.#view.getBigInt64(this.#take(8)));
      case 0xd9: case 0xda: case 0xdb: return this.#string(this.#uint(1 << (head - 0xd9)));
      case 0xdc: case 0xdd: return this.#array(this.#uint(2 << (head - 0xdc)));
      case 0xde: case 0xdf: return this.#map(this.#uint(2 << (head - 0xde)));
      default: throw new Error(`no msgpack value begins with byte ${head}`);
    }
  }

  #map(size) {
    const map = {};
    for (let i = 0; i < size; i++) {
      const key = this.value();
      map[key] = this.value();
    }
    return map;
  }

  #array(size) {
    return Array.from({ length: size }, () => this.value());
  }

  #string(size) {
    return text.decode(this.#binary(size));
  }

  #binary(size) {
    return new Uint8Array(this.#view.buffer, this.#take(size), size);
  }

  #uint(size) {
    const at = this.#take(size);
    if (size === 1) return this.#view.getUint8(at);
    return size === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at);
  }

  #take(size) {
    const at = this.at;
    if (at + size > this.#view.byteLength) throw new Error("expected more bytes of msgpack");
    this.at += size;
    return at;
  }
}
