# SPDX-License-Identifier: Apache-2.0
"""Verify Clyra evidence bundles without trusting the code that wrote them.

Written from ``spec/`` alone; shares no code with the writer.
"""

from clyra.verify.bundle import verify_bundle
from clyra.verify.log import verify_log
from clyra.verify.result import Verification

__all__ = ["Verification", "verify_bundle", "verify_log"]
