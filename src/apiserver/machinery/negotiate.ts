import { PROTOBUF } from "./protobuf/facts.ts";
import { notAcceptableError } from "./status.ts";

/** How a client wants its answer. https://kubernetes.io/docs/reference/using-api/api-concepts/#alternate-representations-of-resources */
export interface Representation {
  readonly as: "object" | "Table" | "PartialObjectMetadata" | "PartialObjectMetadataList";
  readonly encoding: "json" | "yaml" | "protobuf";
  /** For tables and partial metadata: the version of meta.k8s.io. */
  readonly version: string;
  /** The content type to answer with. */
  readonly contentType: string;
}

const JSON_TYPE = "application/json";
const PLAIN: Representation = { as: "object", encoding: "json", version: "v1", contentType: JSON_TYPE };
export const ACCEPTED = ["application/json", "application/yaml", PROTOBUF];
const TRANSFORMS = ["Table", "PartialObjectMetadata", "PartialObjectMetadataList"];

/** Whether what is asked for has a protobuf form: not told of tables and custom resources. */
type SpeaksProtobuf = (as: Representation["as"]) => boolean;

/** The first media type of the Accept header that we speak. Throws 406 with the list of what we do. */
export function negotiate(accept: string | undefined, speaksProtobuf: SpeaksProtobuf): Representation {
  if (accept === undefined || accept === "" || accept === JSON_TYPE || accept === "*/*") return PLAIN;
  for (const clause of accept.split(",")) {
    const found = representation(clause.trim(), speaksProtobuf);
    if (found) return found;
  }
  throw notAcceptableError(ACCEPTED);
}

/** Whether protobuf comes first among what the client takes, for answers that are no kind's. Transformed answers have been negotiated. */
export function prefersProtobuf(accept: string | undefined, isError: boolean): boolean {
  const [type, ...parameters] =
    accept
      ?.split(",", 1)[0]!
      .split(";")
      .map((part) => part.trim()) ?? [];
  return type === PROTOBUF && (isError || !parameters.some((parameter) => parameter.startsWith("as=")));
}

function representation(clause: string, speaksProtobuf: SpeaksProtobuf): Representation | undefined {
  const [type = "", ...rest] = clause.split(";").map((part) => part.trim());
  const encoding = encodingOf(type);
  if (!encoding) return undefined;
  const parameters = new Map(rest.map((part) => part.split("=", 2) as [string, string]));
  const as = parameters.get("as");
  const shape = (as ?? "object") as Representation["as"];
  if (encoding === "protobuf" && !speaksProtobuf(shape)) return undefined;
  if (as === undefined)
    return encoding === "json"
      ? PLAIN
      : { ...PLAIN, encoding, contentType: encoding === "yaml" ? "application/yaml" : type };
  const version = parameters.get("v") ?? "v1";
  const known = TRANSFORMS.includes(as) && parameters.get("g") === "meta.k8s.io" && ["v1", "v1beta1"].includes(version);
  const contentType = encoding === "protobuf" ? PROTOBUF : JSON_TYPE;
  return known ? { as: shape, encoding, version, contentType } : undefined;
}

function encodingOf(type: string): Representation["encoding"] | undefined {
  if (type === JSON_TYPE || type === "application/*" || type === "*/*" || type === "text/*") return "json";
  if (type === PROTOBUF) return "protobuf";
  return type === "application/yaml" || type === "text/yaml" ? "yaml" : undefined;
}
