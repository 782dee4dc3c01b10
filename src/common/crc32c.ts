import { crc32c as native } from '@node-rs/crc32';

/** CRC-32C (Castagnoli) of `data`, continued from `previous`: what GCS, iSCSI and our chunks use. Check: "123456789" → 0xE3069283. */
export function crc32c(data: Uint8Array, previous = 0): number {
  return native(data as Buffer, previous);
}
