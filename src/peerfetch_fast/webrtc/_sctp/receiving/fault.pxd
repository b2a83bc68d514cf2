# The faults of a peer; receive.pyx has the error causes and the words for it.
cdef enum Fault:
    SOUND
    NO_DATA
    CHUNK_TOO_SHORT
    FORWARD_TOO_SHORT
    FORWARD_TOO_FAR
    UNKNOWN_STREAM
    TOO_MANY_STREAMS
    NO_BEGINNING
    NO_END
    MISPLACED
    TOO_LONG
