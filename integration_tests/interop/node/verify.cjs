// SPDX-License-Identifier: Apache-2.0
// Verifies a sigstore bundle, or a plain DSSE envelope, with sigstore-js and one trusted key; found through NODE_PATH.
//
//     node verify.cjs KEY.der DOCUMENT.json
//
// Exit 0 prints the verified payload. Exit 1 prints the code with which sigstore-js refuses; any other exit is a fault.
'use strict';

const { createHash } = require('node:crypto');
const { readFileSync } = require('node:fs');
const { bundleFromJSON, envelopeFromJSON, toDSSEBundle } = require('@sigstore/bundle');
const { Verifier, VerificationError, toSignedEntity, toTrustMaterial } = require('@sigstore/verify');

const NO_SERVICES = { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [] };
// The key is trusted for itself: no certificate, log or timestamp of sigstore's services is asked for.
const NO_THRESHOLDS = { ctlogThreshold: 0, tlogThreshold: 0, timestampThreshold: 0 };

function toBundle(document) {
  if ('dsseEnvelope' in document) {
    return bundleFromJSON(document);
  }
  const { payload, payloadType, signatures } = envelopeFromJSON(document);
  const [{ keyid, sig }] = signatures;
  return toDSSEBundle({ artifact: payload, artifactType: payloadType, signature: sig, keyHint: keyid });
}

function trustOnly(spki) {
  const hint = createHash('sha256').update(spki).digest('hex');
  return toTrustMaterial(NO_SERVICES, { [hint]: { rawBytes: spki } });
}

const [keyPath, documentPath] = process.argv.slice(2);
const bundle = toBundle(JSON.parse(readFileSync(documentPath, 'utf8')));
try {
  new Verifier(trustOnly(readFileSync(keyPath)), NO_THRESHOLDS).verify(toSignedEntity(bundle));
  process.stdout.write(bundle.content.dsseEnvelope.payload);
} catch (error) {
  if (!(error instanceof VerificationError)) {
    throw error;
  }
  process.stdout.write(error.code);
  process.exitCode = 1;
}
