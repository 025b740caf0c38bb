import { existsSync, readFileSync } from "node:fs";
import { cp, mkdir, mkdtemp, rename, rm, stat, statfs, truncate, writeFile } from "node:fs/promises";
import path from "node:path";
import type { vm } from "../../api/index.ts";
import { failedPrecondition, GiB, KeyedMutex, MiB, notFound, resourceExhausted } from "../../base/index.ts";
import { run } from "../../host/index.ts";
import { CACHE, openKernel } from "../guest/index.ts";
import { QemuImg } from "../disk/index.ts";
import { VM_UID } from "../micro/root.ts";

/** A named image that machines are made from, as data: what is in it, and how it is made from the operating system's packages. */
interface Recipe {
  readonly name: string;
  readonly description: string;
  readonly suite: string;
  readonly packages: readonly string[];
  readonly services: readonly string[];
}

/** What a machine needs to be reached: an init system, cloud-init, ssh, and the agent. */
const PACKAGES = [
  ..."systemd systemd-sysv systemd-resolved dbus udev kmod iproute2 sudo ca-certificates".split(" "),
  ..."cloud-init openssh-server qemu-guest-agent".split(" "),
];

/** What one asks a network with, and what berth's tests call. */
const LOOKING_AROUND = "curl dnsutils iperf3 iputils-ping jq libcap2-bin openssl socat zstd".split(" ");

const RECIPES: readonly Recipe[] = [
  {
    name: "debian",
    description: "Debian 12 (bookworm) with cloud-init, ssh and the guest agent, made from Debian's packages",
    suite: "bookworm",
    packages: PACKAGES,
    services: ["systemd-networkd", "systemd-resolved"],
  },
  {
    name: "berth",
    description: "the same with what berth runs on: a node of a cluster, or a host to try things on",
    suite: "bookworm",
    packages: [...PACKAGES, ...["launcher", "engine"].flatMap(groupOfPackages), ...LOOKING_AROUND],
    services: ["systemd-networkd", "systemd-resolved"],
  },
];

/** Documentation and translations are no use in a machine of this kind; a file system that is copied often should be small. */
const LEFT_OUT = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"];
const MAKE_MS = 15 * 60_000;
const DISK_BYTES = 2 * GiB;
const NEEDED_BYTES = 2 * GiB;

/** The images that machines are made from by name. Made once and kept; a machine's disk begins as a linked clone. */
export class Catalogue {
  readonly #folder: string;
  readonly #cache: string;
  readonly #making = new KeyedMutex();

  /** `folder`: this instance's; `cache`: archives that instances share. */
  constructor(folder: string, cache: string) {
    this.#folder = folder;
    this.#cache = cache;
  }

  async list(): Promise<vm.VmImage[]> {
    return Promise.all(
      RECIPES.map(async ({ name, description }) => {
        const facts = await stat(this.#file(name)).catch(() => undefined);
        return { name, description, present: facts !== undefined, ...(facts ? { sizeBytes: facts.blocks * 512 } : {}) };
      }),
    );
  }

  has(name: string): boolean {
    return RECIPES.some((recipe) => recipe.name === name);
  }

  /** The disk of a named image, made when it is not there yet. */
  async ensure(
    name: string,
    signal?: AbortSignal,
  ): Promise<{ file: string; format: string; virtualSizeBytes: number }> {
    const recipe = RECIPES.find((known) => known.name === name);
    if (!recipe)
      throw notFound(`there is no image ${name}`, { hint: `one of ${RECIPES.map((known) => known.name).join(", ")}` });
    const file = this.#file(name);
    if (!existsSync(file)) await this.#making.run(name, () => this.#make(recipe, file, signal));
    return { file, format: "qcow2", virtualSizeBytes: (await new QemuImg().info(file)).virtualSizeBytes };
  }

  async remove(name: string): Promise<void> {
    await rm(this.#file(name), { force: true });
  }

  #file(name: string): string {
    return path.join(this.#folder, `${name}.qcow2`);
  }

  async #make(recipe: Recipe, file: string, signal?: AbortSignal): Promise<void> {
    if (existsSync(file)) return;
    await mkdir(this.#folder, { recursive: true, mode: 0o711 });
    await refuseFullDisk(this.#folder);
    const shared = path.join(this.#cache, `${recipe.name}-${recipe.suite}-5.qcow2`);
    if (!existsSync(shared)) await makeDisk(recipe, shared, signal);
    const fresh = `${file}.new`;
    await cp(shared, fresh);
    await tool(["/bin/chown", `${VM_UID}:${VM_UID}`, fresh]);
    await rename(fresh, file);
  }
}

/** What scripts/packages.json, which `berth` itself installs from, has under a name. */
function groupOfPackages(name: string): string[] {
  const file = path.resolve(import.meta.dirname, "../../../scripts/packages.json");
  const groups = JSON.parse(readFileSync(file, "utf8")) as Record<string, Array<{ readonly package: string }>>;
  return groups[name]!.map((entry) => entry.package);
}

async function refuseFullDisk(folder: string): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize < NEEDED_BYTES)
    throw resourceExhausted(`making an image needs ${NEEDED_BYTES / MiB} MiB in ${folder}, which has less free`);
}

/** From packages to a disk: a tree, what makes it fit for a machine, a file system from it, and the disk image of that. */
async function makeDisk(recipe: Recipe, target: string, signal?: AbortSignal): Promise<void> {
  await mkdir(path.dirname(target), { recursive: true, mode: 0o755 });
  const work = await mkdtemp(path.join(path.dirname(target), ".make-"));
  try {
    const [tree, raw, packed] = ["root", "disk.raw", "disk.qcow2"].map((name) => path.join(work, name)) as [
      string,
      string,
      string,
    ];
    await tool(bootstrapArguments(recipe, tree), signal);
    await configure(tree, recipe);
    await writeFile(raw, "");
    await truncate(raw, DISK_BYTES);
    await tool(["/usr/sbin/mkfs.ext4", "-q", "-F", "-L", "root", "-d", tree, raw], signal);
    await new QemuImg().convert({ file: raw, format: "raw" }, { file: packed, format: "qcow2" }, signal);
    await rename(packed, target);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** mmdebstrap's command line: a minimal system with what the recipe names, as a directory. Pure. */
function bootstrapArguments(recipe: Recipe, target: string): string[] {
  return [
    "/usr/bin/mmdebstrap",
    "--mode=root",
    "--variant=minbase",
    "--components=main",
    `--include=${recipe.packages.join(",")}`,
    '--aptopt=APT::Install-Recommends "false"',
    '--aptopt=Acquire::Languages "none"',
    "--dpkgopt=force-unsafe-io",
    ...LEFT_OUT.map((files) => `--dpkgopt=path-exclude=${files}`),
    "--format=directory",
    "--quiet",
    recipe.suite,
    target,
  ];
}

/** Steps of cloud-init that a machine of ours has use for; each of the others costs a guest under emulation its time. */
const CLOUD_CONFIG = {
  datasource_list: ["NoCloud", "None"],
  ssh_genkeytypes: ["ed25519"],
  no_ssh_fingerprints: true,
  cloud_init_modules: [
    ..."seed_random bootcmd write-files growpart resizefs disk_setup mounts set_hostname update_hostname".split(" "),
    ..."update_etc_hosts ca-certs users-groups ssh".split(" "),
  ],
  cloud_config_modules: ["set-passwords", "timezone", "apt-configure", "runcmd"],
  cloud_final_modules: [
    ..."package-update-upgrade-install scripts-per-once scripts-per-boot scripts-per-instance".split(" "),
    ..."scripts-user final-message power-state-change".split(" "),
  ],
};
/** Periodic work that would only disturb. */
const MASKED = [
  "apt-daily.timer",
  "apt-daily-upgrade.timer",
  "dpkg-db-backup.timer",
  "e2scrub_all.timer",
  "fstrim.timer",
];

async function configure(tree: string, recipe: Recipe): Promise<void> {
  const kernel = await openKernel(CACHE);
  const modules = path.join(tree, "lib/modules", kernel.version);
  await mkdir(path.dirname(modules), { recursive: true });
  await cp(path.dirname(kernel.modules), modules, { recursive: true });
  // By the guest's own, since the host need not have it: without its list the guest loads no module when one is asked for.
  await tool(["/usr/sbin/chroot", tree, "/sbin/depmod", kernel.version]);
  const write = (name: string, text: string) => writeFile(path.join(tree, name), text);
  await write("etc/cloud/cloud.cfg.d/95_berth.cfg", `#cloud-config\n${JSON.stringify(CLOUD_CONFIG, null, 2)}\n`);
  await write("etc/fstab", "/dev/vda / ext4 rw,noatime,discard 0 1\n");
  await write("etc/machine-id", "");
  await write("etc/hostname", "localhost\n");
  await tool(["/usr/sbin/chroot", tree, "/bin/systemctl", "--quiet", "enable", ...recipe.services]);
  await tool(["/usr/sbin/chroot", tree, "/bin/systemctl", "--quiet", "mask", ...MASKED]);
  for (const name of ["var/lib/apt/lists", "var/cache/apt"]) {
    await rm(path.join(tree, name), { recursive: true, force: true });
    await mkdir(path.join(tree, name), { recursive: true });
  }
  // Each machine makes its own.
  await tool(["/bin/sh", "-c", 'rm -f "$1"/etc/ssh/ssh_host_*', "sh", tree]);
}

async function tool(argv: readonly string[], signal?: AbortSignal): Promise<void> {
  const { code, stderr } = await run(argv, { timeoutMs: MAKE_MS, ...(signal ? { signal } : {}) });
  if (code !== 0)
    throw failedPrecondition(`${path.basename(argv[0]!)} failed: ${stderr.trim().split("\n").slice(-3).join("; ")}`, {
      hint: "are the distribution's archives reachable?",
    });
}
