import type { Route } from "./route.ts";

export const IMAGE_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/images",
    async run({ machines }) {
      return { json: await machines.catalogue.list() };
    },
  },
  {
    method: "POST",
    path: "/images/*",
    async run({ machines, args, signal }) {
      await machines.catalogue.ensure(args[0]!, signal);
      return { json: (await machines.catalogue.list()).find(({ name }) => name === args[0]) };
    },
  },
];
