export { Backups, expired } from "./backups.ts";
export { BackupSchedule, checkPolicy, isDue } from "./schedule.ts";
