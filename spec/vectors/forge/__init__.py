# SPDX-License-Identifier: Apache-2.0
"""Toolkit that forges bundles: a writer of its own, which shares no code with the writers and verifiers it tests."""
