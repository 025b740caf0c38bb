export { BACKUP_BITMAP, bitmapOf, removeBitmap } from "./bitmaps.ts";
export { checkImported, Disks, sha256File, type Disk } from "./disks.ts";
export { EXPORT_OPTIONS, IMPORTED_FORMATS } from "./formats.ts";
export { QemuImg, type DiskInfo } from "./qemu-img.ts";
