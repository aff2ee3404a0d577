# SPDX-License-Identifier: Apache-2.0
"""One policy decides for every gate: facts in, effect out."""
