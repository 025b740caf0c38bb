import type { vm } from "../../api/index.ts";
import type { Route } from "./route.ts";

export const BACKUP_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/backups",
    async run({ backups, query }) {
      return { json: await backups.list(query.get("vm") ?? undefined) };
    },
  },
  {
    method: "POST",
    path: "/vms/*/backups",
    async run(call) {
      const { machines, backups, args } = call;
      const { full } = await call.json<{ full?: boolean }>();
      return { json: await backups.create(machines.find(args[0]!), { full: full ?? false }), status: 201 };
    },
  },
  {
    method: "PUT",
    path: "/vms/*/backup-policy",
    async run(call) {
      const { machines, schedule, args } = call;
      const { policy } = await call.json<{ policy?: vm.VmBackupPolicy }>();
      await schedule.set(machines.find(args[0]!), policy);
      return { json: {} };
    },
  },
  {
    method: "POST",
    path: "/backups/*/verify",
    async run({ backups, args }) {
      await backups.verify(args[0]!);
      return { json: { disks: await backups.contentSums(args[0]!) } };
    },
  },
  {
    method: "POST",
    path: "/backups/*/restore",
    async run(call) {
      const { machines, backups, args } = call;
      const { name } = await call.json<{ name?: string }>();
      return { json: await machines.view(await backups.restore(args[0]!, name)), status: 201 };
    },
  },
  {
    method: "DELETE",
    path: "/backups/*",
    async run({ backups, args }) {
      await backups.remove(args[0]!);
      return { json: {} };
    },
  },
];
