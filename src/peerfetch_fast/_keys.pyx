# Compiled, because `cryptography`, which does the same, takes ten megabytes and as long to import
# as it takes to connect.
"""What connections need of keys, by OpenSSL: a certificate of one's own, and X25519."""

import os

from libc.stddef cimport size_t


cdef extern from "<openssl/evp.h>":
    ctypedef struct EVP_PKEY
    ctypedef struct EVP_PKEY_CTX
    ctypedef struct EVP_MD
    ctypedef struct PKCS8_PRIV_KEY_INFO
    enum:
        EVP_PKEY_X25519
    const EVP_MD* EVP_sha256()
    EVP_PKEY* EVP_EC_gen(const char*)
    int EVP_PKEY_get_group_name(const EVP_PKEY*, char*, size_t, size_t*)
    EVP_PKEY* EVP_PKEY_new_raw_private_key(int, void*, const unsigned char*, size_t)
    EVP_PKEY* EVP_PKEY_new_raw_public_key(int, void*, const unsigned char*, size_t)
    void EVP_PKEY_free(EVP_PKEY*)
    EVP_PKEY_CTX* EVP_PKEY_CTX_new(EVP_PKEY*, void*)
    void EVP_PKEY_CTX_free(EVP_PKEY_CTX*)
    int EVP_PKEY_derive_init(EVP_PKEY_CTX*)
    int EVP_PKEY_derive_set_peer(EVP_PKEY_CTX*, EVP_PKEY*)
    int EVP_PKEY_derive(EVP_PKEY_CTX*, unsigned char*, size_t*)


cdef extern from "<openssl/x509.h>":
    ctypedef struct X509
    ctypedef struct X509_NAME
    ctypedef struct ASN1_INTEGER
    ctypedef struct ASN1_STRING
    ctypedef struct ASN1_TIME
    enum:
        MBSTRING_ASC
    EVP_PKEY* d2i_AutoPrivateKey(EVP_PKEY**, const unsigned char**, long)
    PKCS8_PRIV_KEY_INFO* EVP_PKEY2PKCS8(const EVP_PKEY*)
    int i2d_PKCS8_PRIV_KEY_INFO(const PKCS8_PRIV_KEY_INFO*, unsigned char**)
    void PKCS8_PRIV_KEY_INFO_free(PKCS8_PRIV_KEY_INFO*)
    X509* X509_new()
    void X509_free(X509*)
    X509* d2i_X509(X509**, const unsigned char**, long)
    int i2d_X509(const X509*, unsigned char**)
    int X509_set_version(X509*, long)
    ASN1_INTEGER* X509_get_serialNumber(X509*)
    ASN1_TIME* X509_getm_notBefore(const X509*)
    ASN1_TIME* X509_getm_notAfter(const X509*)
    X509_NAME* X509_get_subject_name(const X509*)
    int X509_set_issuer_name(X509*, const X509_NAME*)
    int X509_NAME_add_entry_by_txt(
        X509_NAME*, const char*, int, const unsigned char*, int, int, int
    )
    int X509_set_pubkey(X509*, EVP_PKEY*)
    int X509_sign(X509*, EVP_PKEY*, const EVP_MD*)
    int X509_check_private_key(const X509*, const EVP_PKEY*)
    int ASN1_STRING_set(ASN1_STRING*, const void*, int)
    int ASN1_TIME_set_string_X509(ASN1_TIME*, const char*)


cdef extern from "<openssl/crypto.h>":
    void OPENSSL_free(void*)


cdef extern from "<openssl/err.h>":
    void ERR_clear_error()


# The device's clock may be wrong when it makes its certificate, and nobody checks the dates of one
# that is known by its fingerprint (RFC 8827 section 6.5): so it is valid from before the project
# began until RFC 5280 section 4.1.2.5's date for "no end".
cdef bytes NOT_BEFORE = b"20200101000000Z"
cdef bytes NOT_AFTER = b"99991231235959Z"

cdef enum:
    X25519 = 32         # bytes of a scalar, of a point and of what comes of them
    SERIAL = 20         # bytes of a serial number (RFC 5280 section 4.1.2.2)


def make_certificate():
    """A new self-signed certificate and its key, as :class:`.Certificate` has them."""
    cdef EVP_PKEY* key = EVP_EC_gen(b"P-256")
    cdef X509* certificate = X509_new()
    try:
        if key == NULL or certificate == NULL or not fill(certificate, key):
            raise MemoryError
        return encoded_certificate(certificate), encoded_key(key)
    finally:
        X509_free(certificate)
        EVP_PKEY_free(key)
        ERR_clear_error()


cdef bint fill(X509* certificate, EVP_PKEY* key) except -1:
    """Whether there was memory for all of it."""
    cdef X509_NAME* name = X509_get_subject_name(certificate)
    # Positive, and as long as it is said to be.
    cdef bytes drawn = os.urandom(SERIAL)
    cdef bytes serial = bytes((drawn[0] & 0x3F | 0x40,)) + drawn[1:]
    return (
        X509_set_version(certificate, 2)
        and ASN1_STRING_set(
            <ASN1_STRING*>X509_get_serialNumber(certificate), <const char*>serial, SERIAL
        )
        # A name would tell observers of the handshake which device this is; the fingerprint is
        # enough.
        and X509_NAME_add_entry_by_txt(
            name, b"CN", MBSTRING_ASC, <const unsigned char*>b"WebRTC", -1, -1, 0
        )
        and X509_set_issuer_name(certificate, name)
        and ASN1_TIME_set_string_X509(X509_getm_notBefore(certificate), NOT_BEFORE)
        and ASN1_TIME_set_string_X509(X509_getm_notAfter(certificate), NOT_AFTER)
        and X509_set_pubkey(certificate, key)
        and X509_sign(certificate, key, EVP_sha256()) > 0
    )


cdef bytes encoded_certificate(X509* certificate):
    cdef unsigned char* encoded = NULL
    cdef int length = i2d_X509(certificate, &encoded)
    return taken(length, encoded)


cdef bytes encoded_key(EVP_PKEY* key):
    cdef unsigned char* encoded = NULL
    cdef PKCS8_PRIV_KEY_INFO* info = EVP_PKEY2PKCS8(key)
    cdef int length
    if info == NULL:
        raise MemoryError
    try:
        length = i2d_PKCS8_PRIV_KEY_INFO(info, &encoded)
        return taken(length, encoded)
    finally:
        PKCS8_PRIV_KEY_INFO_free(info)


cdef bytes taken(int length, unsigned char* encoded):
    """What OpenSSL has encoded, which is freed."""
    if length <= 0:
        raise MemoryError
    try:
        return encoded[:length]
    finally:
        OPENSSL_free(encoded)


def check_certificate(bytes der not None, bytes private_key not None):
    """Raises ValueError unless both can be read, and the key is one of P-256 and the
    certificate's.
    """
    cdef const unsigned char* at = private_key
    cdef const unsigned char* end = at + len(private_key)
    cdef EVP_PKEY* key = d2i_AutoPrivateKey(NULL, &at, len(private_key))
    cdef bint whole = at == end
    cdef X509* certificate = NULL
    try:
        if key == NULL or not whole:
            raise ValueError("the private key cannot be read")
        if group_of(key) != b"prime256v1":
            raise ValueError("the private key is not one of P-256")
        at = der
        end = at + len(der)
        certificate = d2i_X509(NULL, &at, len(der))
        if certificate == NULL or at != end:
            raise ValueError("the certificate cannot be read")
        if X509_check_private_key(certificate, key) != 1:
            raise ValueError("the private key is not the certificate's")
    finally:
        X509_free(certificate)
        EVP_PKEY_free(key)
        ERR_clear_error()


cdef bytes group_of(EVP_PKEY* key):
    """The name of its curve; empty for a key that has none."""
    cdef char name[64]
    cdef size_t length = 0
    if not EVP_PKEY_get_group_name(key, name, sizeof(name), &length):
        return b""
    return name[:length]


def x25519(bytes scalar not None, bytes point not None):
    """X25519 (RFC 7748): 32 bytes. Raises ValueError for a point of another length or of low order,
    of which nothing secret comes.
    """
    cdef EVP_PKEY* own = NULL
    cdef EVP_PKEY* other = NULL
    cdef EVP_PKEY_CTX* context = NULL
    cdef unsigned char secret[X25519]
    cdef size_t length = X25519
    if len(scalar) != X25519 or len(point) != X25519:
        raise ValueError("X25519 takes 32 bytes")
    try:
        own = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, scalar, X25519)
        other = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, point, X25519)
        context = EVP_PKEY_CTX_new(own, NULL)
        if own == NULL or other == NULL or context == NULL:
            raise MemoryError
        if (
            EVP_PKEY_derive_init(context) != 1
            or EVP_PKEY_derive_set_peer(context, other) != 1
            or EVP_PKEY_derive(context, secret, &length) != 1
        ):
            raise ValueError("nothing secret comes of this point")
        return secret[:length]
    finally:
        EVP_PKEY_CTX_free(context)
        EVP_PKEY_free(other)
        EVP_PKEY_free(own)
        ERR_clear_error()
