# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""Reading: a source, its packets, and its decoded pictures with their side data."""
