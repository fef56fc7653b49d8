# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""The signals that are fused into scores, each a map of shape `(frames, block_rows, block_columns)`."""
