# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Measures of what a codec stream keeps of its video: rebuild quality and event recall (numpy and PyAV only)."""
