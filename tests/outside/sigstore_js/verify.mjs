// Judge a bundle with @sigstore/verify: node verify.mjs MODULES BUNDLE KEY
// MODULES is the folder that has node_modules; KEY a PEM. Exit code 0 verified, 1 refused with the reason on stderr.
import { createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const [modules, bundlePath, keyPath] = process.argv.slice(2);
const load = createRequire(join(modules, 'package.json'));
const { bundleFromJSON } = load('@sigstore/bundle');
const { Verifier, toSignedEntity, toTrustMaterial } = load('@sigstore/verify');

const publicKey = createPublicKey(readFileSync(keyPath));
const nobody = { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [] };
// One trusted key, whatever the hint says; no log and no stamp are asked for.
const trusted = toTrustMaterial(nobody, () => ({ publicKey, validFor: () => true }));
try {
  const bundle = bundleFromJSON(JSON.parse(readFileSync(bundlePath, 'utf8')));
  new Verifier(trusted, { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 }).verify(toSignedEntity(bundle));
} catch (error) {
  console.error(`${error.name}: ${error.message}`);
  process.exit(1);
}
