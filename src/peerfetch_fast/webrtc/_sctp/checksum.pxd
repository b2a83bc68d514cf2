from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t


# Only for .pyx files of this directory: the header is found beside them.
cdef extern from "checksum.h" nogil:
    void sctp_crc32c_init()
    bint sctp_crc32c_is_by_instruction()
    uint32_t sctp_crc32c_update(uint32_t crc, const uint8_t* data, size_t length)
    uint32_t sctp_crc32c_by_table(uint32_t crc, const uint8_t* data, size_t length)
    uint32_t sctp_packet_checksum(const uint8_t* packet, size_t length)
