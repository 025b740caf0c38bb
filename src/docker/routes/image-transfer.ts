import { invalidArgument, PushQueue } from "../../base/index.ts";
import {
  applyChanges,
  familiarName,
  parseReference,
  type ImageService,
  type OnProgress,
  type ProgressMessage,
} from "../../engine/index.ts";
import { jsonLines, stream, type DockerRequest, type Route } from "../route.ts";
import { withTag } from "./images.ts";
import { platformOf } from "./platform-query.ts";
import { registryAuth } from "./registry-auth.ts";

/** Images coming and going: pull, import, push, save, load. */
export function imageTransferRoutes(images: ImageService): Route[] {
  return [
    {
      method: "POST",
      path: "/images/create",
      handle: (request) => (request.query.text("fromSrc") ? importImage(images, request) : pull(images, request)),
    },
    { method: "POST", path: "/images/load", handle: (request) => load(images, request) },
    {
      method: "GET",
      path: "/images/get",
      handle: (request) =>
        save(
          images,
          request,
          request.query.all("names").flatMap((names) => names.split(",")),
        ),
    },
    {
      method: "GET",
      path: "/images/{name...}/get",
      handle: (request) => save(images, request, [request.params["name"]!]),
    },
    { method: "POST", path: "/images/{name...}/push", handle: (request) => push(images, request) },
  ];
}

function pull(images: ImageService, request: DockerRequest) {
  const { query, headers, signal } = request;
  const repository = query.required("fromImage");
  const name = withTag(repository, query.text("tag"));
  parseReference(name);
  // Docker's meaning of no tag, which `docker pull -a` relies on: all of them.
  const all = name === repository && !hasTag(repository);
  const options = { auth: registryAuth(headers), platform: platformOf(request), signal };
  const work = async (onProgress: OnProgress): Promise<void> => {
    await (all ? images.pullAll(name, { ...options, onProgress }) : images.pull(name, { ...options, onProgress }));
  };
  return jsonLines(progress(work));
}

/** Whether a name says which of a repository's images it means. */
function hasTag(name: string): boolean {
  return /[:@]/.test(name.slice(name.lastIndexOf("/") + 1));
}

function push(images: ImageService, request: DockerRequest) {
  const { params, query, headers, signal } = request;
  const platform = platformOf(request);
  const name = withTag(params["name"]!, query.text("tag"));
  const auth = registryAuth(headers);
  return jsonLines(
    progress(async (onProgress) => void (await images.push(name, { auth, platform, signal, onProgress }))),
  );
}

function load(images: ImageService, request: DockerRequest) {
  const { query, body, signal } = request;
  const platform = platformOf(request);
  const quiet = query.bool("quiet");
  const work = async (emit: OnProgress) => {
    const onProgress: OnProgress = (message) => {
      if (!quiet || message.stream !== undefined) emit(message);
    };
    await images.load(body, { platform, onProgress, signal });
  };
  return jsonLines(progress(work));
}

async function save(images: ImageService, request: DockerRequest, names: readonly string[]) {
  const wanted = names.filter((name) => name !== "");
  if (wanted.length === 0) throw invalidArgument("no image is named");
  // Told while an error can still have its own status.
  for (const name of wanted) await images.resolve(name, { platform: platformOf(request) });
  return stream(images.save(wanted, { platform: platformOf(request), signal: request.signal }), "application/x-tar");
}

function importImage(images: ImageService, request: DockerRequest) {
  const { query, body, signal } = request;
  const from = query.required("fromSrc");
  const repository = query.text("repo");
  const tag = repository ? familiarName(parseReference(withTag(repository, query.text("tag")))) : undefined;
  const config = applyChanges({}, query.all("changes"));
  const work = async (emit: OnProgress) => {
    const tar = from === "-" ? body : await images.fetchUrl(from, signal);
    const message = query.text("message") || `Imported from ${from}`;
    const image = await images.import(tar, { tag, config, platform: platformOf(request), message, signal });
    emit({ status: image.id });
  };
  return jsonLines(progress(work));
}

/** Messages of `work` as they come; its failure ends the sequence. */
async function* progress(work: (onProgress: OnProgress) => Promise<void>): AsyncGenerator<ProgressMessage> {
  const queue = new PushQueue<ProgressMessage>();
  work((message) => queue.push(message)).then(
    () => queue.end(),
    (error: unknown) => queue.fail(error),
  );
  yield* queue;
}
