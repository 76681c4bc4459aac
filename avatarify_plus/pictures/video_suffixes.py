"""How the names of videos end."""

VIDEO_SUFFIXES = (
    *(".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mts", ".gif"),  # messages name these
    *(".m4v", ".qt", ".3gp", ".3g2", ".f4v", ".lrv", ".ogv", ".ogm", ".divx", ".wmv", ".asf", ".flv", ".mxf", ".dv"),
    *(".rm", ".rmvb", ".y4m", ".mpeg", ".mpe", ".m1v", ".m2v", ".mpv", ".vob", ".mod", ".tod"),
    *(".ts", ".m2ts", ".m2t", ".h264", ".h265", ".hevc"),
)
"""In lower case, for the files of folders: a file that is named itself may be called what it likes."""
