import type { k8s } from "../../api/index.ts";
import { hasCode } from "../../base/index.ts";
import { keyOf, resources, type Stored } from "../../client/index.ts";
import { sameJson } from "../common/index.ts";
import type { Controller, ControllerContext } from "../controller.ts";

type Secret = Stored<k8s.Secret>;
type ServiceAccount = Stored<k8s.ServiceAccount>;

const TYPE = "kubernetes.io/service-account-token";
const ACCOUNT_NAME = "kubernetes.io/service-account.name";
const ACCOUNT_UID = "kubernetes.io/service-account.uid";

const base64 = (text: string): string => Buffer.from(text).toString("base64");

/**
 * Fills the Secrets in which somebody asks for a service account's token, and deletes them when the account goes.
 * https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#token-controller
 */
export const serviceAccountTokensController: Controller = {
  name: "serviceaccount-token-controller",
  asManager: true,
  setup(context) {
    const secrets = context
      .informer(resources.secrets)
      .addIndex("account", (secret) =>
        secret.type === TYPE ? [`${secret.metadata.namespace}/${secret.metadata.annotations?.[ACCOUNT_NAME]}`] : [],
      );
    const accounts = context.informer(resources.serviceAccounts);
    const consider = (secret: Secret) => {
      if (secret.type === TYPE) context.enqueue(keyOf(secret));
    };
    secrets.onChange({ added: consider, updated: consider });
    const ofAccount = (account: ServiceAccount) => secrets.byIndex("account", keyOf(account)).forEach(consider);
    accounts.onChange({ added: ofAccount, deleted: ofAccount });
    return {
      async reconcile(key, signal) {
        const secret = secrets.get(key);
        if (secret?.type !== TYPE || secret.metadata.deletionTimestamp) return;
        const { annotations, namespace } = secret.metadata;
        const ref = { name: annotations?.[ACCOUNT_NAME] ?? "", namespace };
        const account = accounts.get(`${namespace}/${ref.name}`) ?? (await find(context, ref, signal));
        const uid = annotations?.[ACCOUNT_UID];
        if (!account || (uid !== undefined && uid !== account.metadata.uid)) await discard(context, secret, signal);
        else await fill(context, secret, account, signal);
      },
    };
  },
};

/** The informer may not have seen an account that was made together with its Secret. */
async function find(
  context: ControllerContext,
  ref: { name: string; namespace: string | undefined },
  signal: AbortSignal,
): Promise<ServiceAccount | undefined> {
  try {
    return await context.client.of(resources.serviceAccounts).get(ref, { signal });
  } catch (error) {
    if (hasCode(error, "notFound")) return undefined;
    throw error;
  }
}

async function discard(context: ControllerContext, { metadata }: Secret, signal: AbortSignal): Promise<void> {
  const { uid, resourceVersion } = metadata;
  try {
    await context.client.of(resources.secrets).delete(metadata, { preconditions: { uid, resourceVersion }, signal });
  } catch (error) {
    if (!hasCode(error, "notFound")) throw error;
  }
}

async function fill(
  context: ControllerContext,
  secret: Secret,
  account: ServiceAccount,
  signal: AbortSignal,
): Promise<void> {
  const { legacyTokens, rootCaPem } = context.settings;
  if (!legacyTokens) return;
  const namespace = account.metadata.namespace!;
  const { name, uid } = account.metadata;
  const token = () =>
    legacyTokens.issue({ namespace, serviceAccount: { name, uid }, secretName: secret.metadata.name });
  const data = {
    ...secret.data,
    ...(rootCaPem === undefined ? {} : { "ca.crt": base64(rootCaPem) }),
    namespace: base64(namespace),
    token: secret.data?.["token"] ?? base64(token()),
  };
  const annotations = { ...secret.metadata.annotations, [ACCOUNT_UID]: uid };
  if (sameJson(secret.data, data) && sameJson(secret.metadata.annotations, annotations)) return;
  await context.client
    .of(resources.secrets)
    .update({ ...secret, data, metadata: { ...secret.metadata, annotations } }, { signal });
}
