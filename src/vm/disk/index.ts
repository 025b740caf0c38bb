export { BACKUP_BITMAP, bitmapOf, removeBitmap } from "./bitmaps.ts";
export { Disks, sha256File, type Disk } from "./disks.ts";
export { QemuImg, type DiskInfo } from "./qemu-img.ts";
