/** float16 → float32: the 65,536 entries are every value there is. */
export const HALF = new Float32Array(65536);
{
  const bits = new Uint32Array(1);
  const value = new Float32Array(bits.buffer);
  for (let half = 0; half < 65536; half++) {
    const sign = (half & 0x8000) << 16;
    const exponent = (half >> 10) & 31;
    const fraction = half & 1023;
    if (exponent === 0) {
      HALF[half] = (sign ? -1 : 1) * fraction * 2 ** -24;
      continue;
    }
    bits[0] = (sign | ((exponent === 31 ? 255 : exponent + 112) << 23) | (fraction << 13)) >>> 0;
    HALF[half] = value[0];
  }
}

/**
 * Numbers of a tensor as float32.
 * @param {ArrayBuffer} data
 * @param {string} dtype as safetensors calls it
 * @returns {Float32Array}
 */
export function toFloats(data, dtype) {
  if (dtype === "F32") return new Float32Array(data);
  const bits = dtype === "F16" || dtype === "BF16" ? new Uint16Array(data) : null;
  if (bits && dtype === "F16") return Float32Array.from(bits, (half) => HALF[half]);
  if (bits) return new Float32Array(Uint32Array.from(bits, (half) => half << 16).buffer);
  if (dtype === "F64") return Float32Array.from(new Float64Array(data));
  if (dtype === "I32") return Float32Array.from(new Int32Array(data));
  return Float32Array.from(new Uint8Array(data));
}
