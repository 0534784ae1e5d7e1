/**
 * Telling a text that is whole from one that was cut off or damaged. Not against who wants to forge one.
 */

/** Two 32-bit hashes of the UTF-16 units of a text (cyrb53's mixing), as sixteen hexadecimal digits. */
export const checksum = (text: string): string => {
  let a = 0xdeadbeef
  let b = 0x41c6ce57
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    a = Math.imul(a ^ unit, 0x9e3779b1)
    b = Math.imul(b ^ unit, 0x5f356495)
  }
  a = Math.imul(a ^ (a >>> 16), 0x85ebca6b) ^ Math.imul(b ^ (b >>> 13), 0xc2b2ae35)
  b = Math.imul(b ^ (b >>> 16), 0x85ebca6b) ^ Math.imul(a ^ (a >>> 13), 0xc2b2ae35)
  return hex(a) + hex(b)
}

const hex = (n: number): string => (n >>> 0).toString(16).padStart(8, "0")
