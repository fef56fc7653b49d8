# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""
Class names that released repositories give to the classes of their remote code.

transformers resolves processors by the class name in a repository's files, not by model type, and runs the remote file
(or asks whether to) when the name is unknown. Each alias hands over to the OV2 class, so neither the name nor the
remote file survives loading. The file can go when the released repositories name the classes of this package.
"""

from .processing_ov2 import OV2Processor
from .video_processing_ov2 import OV2VideoProcessor


class LlavaOnevision2Processor(OV2Processor):
    @classmethod
    def from_pretrained(cls, *args, **kwargs) -> OV2Processor:
        return OV2Processor.from_pretrained(*args, **kwargs)


class Llava_Onevision2Processor(LlavaOnevision2Processor):
    """The spelling of early revisions."""


class LlavaOnevision2VideoProcessor(OV2VideoProcessor):
    @classmethod
    def from_pretrained(cls, *args, **kwargs) -> OV2VideoProcessor:
        return OV2VideoProcessor.from_pretrained(*args, **kwargs)
