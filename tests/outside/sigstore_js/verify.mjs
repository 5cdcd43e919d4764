// Judge a bundle with @sigstore/verify: node verify.mjs MODULES BUNDLE KEY [ROOT LOGS STAMPS [SAN ISSUER]]
// MODULES is the folder that has node_modules; KEY a PEM, or - for a certificate of SAN by ISSUER; ROOT a trusted root, of
// whose logs and authorities at least LOGS entries and STAMPS stamps are asked for. Exit code 0 verified, 1 refused with
// the reason on stderr.
import { createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const [modules, bundlePath, keyPath, rootPath, logs = '0', stamps = '0', san, issuer] = process.argv.slice(2);
const load = createRequire(join(modules, 'package.json'));
const { bundleFromJSON } = load('@sigstore/bundle');
const { Verifier, toSignedEntity, toTrustMaterial } = load('@sigstore/verify');

const nobody = { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [] };
try {
  const root = rootPath
    ? createRequire(load.resolve('@sigstore/verify'))('@sigstore/protobuf-specs').TrustedRoot.fromJSON(JSON.parse(readFileSync(rootPath, 'utf8')))
    : nobody;
  // One trusted key, whatever the hint says.
  const key = keyPath === '-' ? undefined : createPublicKey(readFileSync(keyPath));
  const trusted = toTrustMaterial(root, key && (() => ({ publicKey: key, validFor: () => true })));
  const bundle = bundleFromJSON(JSON.parse(readFileSync(bundlePath, 'utf8')));
  const thresholds = { tlogThreshold: Number(logs), ctlogThreshold: key ? 0 : 1, timestampThreshold: Number(stamps) };
  const policy = key ? undefined : { subjectAlternativeName: san, extensions: { issuer } };
  new Verifier(trusted, thresholds).verify(toSignedEntity(bundle), policy);
} catch (error) {
  console.error(`${error.name}: ${error.message}`);
  process.exit(1);
}
