import type { KubeletApi } from "../kubelet-api.ts";
import type { cri, Pod } from "../pod/imports.ts";

interface DockerAuth {
  username?: string;
  password?: string;
  auth?: string;
  identitytoken?: string;
}

/** The credentials for an image among the Pod's imagePullSecrets: the entry whose registry and path match longest. */
export async function registryAuth(api: KubeletApi, pod: Pod, image: string): Promise<cri.RegistryAuth | undefined> {
  let best: { length: number; auth: DockerAuth; server: string } | undefined;
  for (const { name } of pod.spec?.imagePullSecrets ?? []) {
    const secret = name ? await api.secret(pod.metadata.namespace!, name) : undefined;
    for (const [server, auth] of Object.entries(parse(secret?.data))) {
      const prefix = server.replace(/^https?:\/\//, "").replace(/\/(v[12]\/?)?$/, "");
      if (
        qualified(image).startsWith(prefix === "index.docker.io" ? "docker.io" : prefix) &&
        (!best || prefix.length > best.length)
      )
        best = { length: prefix.length, auth, server };
    }
  }
  if (!best) return undefined;
  const [username, password] = best.auth.auth
    ? Buffer.from(best.auth.auth, "base64").toString().split(/:(.*)/s)
    : [best.auth.username, best.auth.password];
  return { username, password, serverAddress: best.server, identityToken: best.auth.identitytoken };
}

function qualified(image: string): string {
  const first = image.split("/")[0]!;
  const hasRegistry = image.includes("/") && (first.includes(".") || first.includes(":") || first === "localhost");
  return hasRegistry ? image : `docker.io/${image.includes("/") ? "" : "library/"}${image}`;
}

/** A broken secret is as good as none: the pull then fails with the registry's own words. */
function parse(data: Readonly<Record<string, string>> | undefined): Record<string, DockerAuth> {
  try {
    if (data?.[".dockerconfigjson"])
      return (
        (
          JSON.parse(Buffer.from(data[".dockerconfigjson"], "base64").toString()) as {
            auths?: Record<string, DockerAuth>;
          }
        ).auths ?? {}
      );
    if (data?.[".dockercfg"])
      return JSON.parse(Buffer.from(data[".dockercfg"], "base64").toString()) as Record<string, DockerAuth>;
  } catch {
    return {};
  }
  return {};
}
