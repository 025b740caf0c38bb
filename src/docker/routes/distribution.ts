import type { ImageService } from "../../engine/index.ts";
import { json, type Route } from "../route.ts";
import { registryAuth } from "./registry-auth.ts";

/** What a registry has under a name, asked on the client's behalf. */
export function distributionRoutes(images: Pick<ImageService, "inspectRemote">): Route[] {
  return [
    {
      method: "GET",
      path: "/distribution/{name...}/json",
      handle: async ({ params, headers, signal }) => {
        const { descriptor, platforms } = await images.inspectRemote(params["name"]!, {
          auth: registryAuth(headers),
          signal,
        });
        return json({ Descriptor: descriptor, Platforms: platforms });
      },
    },
  ];
}
