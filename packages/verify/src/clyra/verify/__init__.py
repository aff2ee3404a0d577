# SPDX-License-Identifier: Apache-2.0
"""Verify Clyra evidence bundles without trusting the code that wrote them."""
