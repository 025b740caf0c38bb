/** States of a blob that is unpacked while it arrives; the second of its two shared integers. */
export const GROWING = { running: 0n, done: 1n, failed: 2n } as const;
