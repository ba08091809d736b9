/**
 * Messages of the WebSocket subprotocols `facodec.v1` and `facodec.v2`, see protocol.md.
 *
 * Set `socket.binaryType = "arraybuffer"`. Bytes are msgpack `bin`, never extension types; numbers
 * that are whole must be msgpack integers. Fields with `?` may be left out.
 */

export type Role =
  | "encode" | "decode" | "loopback" | "convert" | "publish" | "subscribe" | "enroll";
export type Format = "pcm" | "codes";

export interface Hello {
  type: "hello";
  /** That of the subprotocol. */
  version: 1 | 2;
  role: Role;
  input?: Format;
  output?: Format;
  pcm?: "f32" | "s16";
  model?: string;
  /** 1024 bytes, 256 float32, or a name. */
  voice?: Uint8Array | string;
  room?: string;
  layers?: 3 | 4 | 5 | 6;
  /** 1 to 8. */
  frames_per_packet?: number;
  token?: string;
  seed?: number;
  resume?: string;
  /** 55 to 450 Hz. */
  pitch?: number;
  talker?: Uint8Array | string;
  identity?: string;
  /** v2. */
  voices?: "exact" | "compact";
  /** v2: 1 to 1024. */
  stamps?: number;
  /** v2: eight hexadecimal digits. */
  coder?: string;
  /** v2. */
  pauses?: boolean;
  live?: boolean;
  /** v2: 1 to 4. */
  redundancy?: number;
  /** v2. */
  fewer_layers?: boolean;
  replay?: "all" | "newest";
  /** With `resume`: messages of the session that the client has. */
  received?: number;
  /** `enroll`: a name. */
  keep?: string;
}

export interface Ready {
  type: "ready";
  version: 1 | 2;
  session: string;
  model: string;
  sample_rate: number;
  hop: number;
  layers: number;
  latency: { encoder: number; decoder: number };
  limits: { max_message: number; max_frames: number; backlog: number; idle_timeout: number };
  resume?: string;
  identity?: string;
  voices?: "compact";
  coder?: string;
  pauses?: true;
  redundancy?: number;
  fewer_layers?: true;
  /** v2: `seq` of the first frame; 0 where left out. */
  first?: number;
  replay?: "all" | "newest";
  /** To a client that has come back: messages of the session that the server has. */
  received?: number;
}

export interface Stamps { t?: number; queue: number; encode: number; decode: number }

/** msgpack in v1; in v2 `0x60 0 s s samples stamps?`, samples at byte 4. */
export interface Audio {
  type: "audio"; seq: number; data: Uint8Array; t?: number; stamps?: Stamps;
}

/** msgpack in v1; in v2 `n s s codes stamps?`, with a repeat
 * `0x70+n-1 s s d m-and-r repeat codes stamps?`, of fewer layers `0x61+layers` before either. */
export interface Codes {
  type: "codes"; seq: number; n: number; data: Uint8Array; t?: number; stamps?: Stamps;
  repeat?: Repeat;
  /** Where these are fewer than the session's. */
  layers?: 3 | 4 | 5;
}

/** Three codes of each of `n` frames, the first of them `back` frames before the message's own. */
export interface Repeat { back: number; n: number; data: Uint8Array }

/** msgpack; in v2 with compact voices `0x61` (estimate) or `0x62` (exact) and 124 bytes. */
export interface Voice {
  type: "voice";
  /** Or, from a client, the name of a voice that the server knows; then always msgpack. */
  data: Uint8Array | string;
  identity?: string;
  alike?: number;
  /** Semitones that it is to speak higher, -12 to 12; from a client. */
  shift?: number;
}

/** v2 only: `0x63 s s` and nothing or 5 bytes. */
export interface Noise { type: "noise"; seq: number; data: Uint8Array }

/** `received` from a client of whose session all is sent again. */
export interface Clock { type: "clock"; t0: number; t1?: number; received?: number }
/** To a listener whose session may come back. */
export interface Presence { type: "presence"; publisher: "away" | "back" }
export interface End { type: "end" }
export interface ServerError { type: "error"; code: string; message: string }

export interface Done {
  type: "done";
  frames_in: number;
  frames_out: number;
  bytes_in: number;
  bytes_out: number;
  encode: number;
  decode: number;
  queue_max: number;
  reason: "end" | "publisher-left" | "replaced" | "shutdown";
  talker?: Uint8Array;
  pitch?: number;
}

export type ClientMessage = Hello | Audio | Codes | Voice | Noise | Clock | End;
export type ServerMessage =
  Ready | Audio | Codes | Voice | Noise | Clock | Presence | ServerError | Done;
