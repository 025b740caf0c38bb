import { PushQueue } from "../../base/index.ts";
import type { ImageService, ProgressMessage } from "../../engine/index.ts";
import { jsonLines, type Route } from "../route.ts";

/** A client that reads progress slowly may be this far behind. */
const MAX_PENDING_MESSAGES = 100_000;

/** What Docker has no endpoint for, under a path of our own. */
export function berthRoutes(images: ImageService): Route[] {
  return [
    {
      method: "POST",
      path: "/berth/images/bootstrap",
      handle({ query, signal }) {
        const name = query.required("name");
        const messages = new PushQueue<ProgressMessage>(MAX_PENDING_MESSAGES);
        images.bootstrap(name, { signal, onProgress: (message) => messages.push(message) }).then(
          (image) => {
            messages.push({ status: `Made ${name} (${image.id.slice(7, 19)})` });
            messages.end();
          },
          (error: unknown) => messages.fail(error),
        );
        return jsonLines(messages);
      },
    },
  ];
}
