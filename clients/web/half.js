// Numbers of 16 bits, float16, which travel where 32 would tell no more.

/** The bits of the number of 16 bits that is nearest; of two, the even one. */
export function toHalf(number) {
  const sign = number < 0 || Object.is(number, -0) ? 0x8000 : 0;
  const size = Math.abs(number);
  if (Number.isNaN(number)) return sign | 0x7e00;
  if (size >= 65520) return sign | 0x7c00;
  // Below the smallest power of two that there is, steps stay as wide as they are there.
  const exponent = Math.max(Math.floor(Math.log2(size || 1)), -14);
  const steps = size * 2 ** (10 - exponent);
  const whole = Math.floor(steps);
  const rest = steps - whole;
  const up = rest > 0.5 || (rest === 0.5 && whole % 2 === 1);
  // A carry goes into the exponent by itself.
  const base = whole < 1024 ? 0 : (exponent + 14) << 10;
  return sign | (base + whole + (up ? 1 : 0));
}

/** The number that 16 bits mean. */
export function fromHalf(bits) {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const sign = bits >> 15 ? -1 : 1;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 25) * (1024 + fraction) : 2 ** -24 * fraction);
}
