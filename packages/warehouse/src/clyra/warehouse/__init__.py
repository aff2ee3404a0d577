# SPDX-License-Identifier: Apache-2.0
"""What Clyra needs from any warehouse: anchors and session settings."""
