"""The exceptions a user can meet. A message says what was asked, what was found and what to do."""


class AvatarifyError(Exception):
    """Any failure that the user can act on."""


class ConfigError(AvatarifyError):
    """An option or a configuration value is out of range or contradicts another."""


class SourceError(AvatarifyError):
    """A photo or a driver's frame cannot be used, or no avatar was set."""


class CameraError(AvatarifyError):
    """The driving video or webcam cannot be opened or read."""


class SinkError(AvatarifyError):
    """A recording, the preview or another file, such as that of --json, cannot be opened or written."""


class VirtualCameraError(SinkError):
    """The virtual camera is missing or refuses frames."""


class ModelError(AvatarifyError):
    """A model bundle or checkpoint is missing, damaged or of another form."""


class EngineError(AvatarifyError):
    """The requested engine cannot run on this machine."""


class DataError(AvatarifyError):
    """Training or evaluation data are missing or unreadable."""


class RemoteError(AvatarifyError):
    """The machine that computes the avatar, or the one with the webcam, cannot be reached or refuses."""
