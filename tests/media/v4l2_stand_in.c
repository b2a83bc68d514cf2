/* A camera device (V4L2) for a program that is run with this preloaded: the file that STAND_IN_DEVICE names.
 *
 * What it gives is in the directory STAND_IN_GIVES: the file H264 or MJPG, or both, pictures each behind its length in
 * four bytes, the lowest first. It is unplugged while the device's file is away, fails until it is opened again where
 * the file "fail" was, and leaves in the file "asked" what was asked of it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BUFFERS = 4, SIZE = 1 << 18 };

static int device = -1, failed;
static FILE *pictures;
static unsigned int waiting[BUFFERS], first, queued;
static struct v4l2_pix_format shown = {.width = 160, .height = 120, .pixelformat = V4L2_PIX_FMT_MJPEG};

static FILE *beside(const char *name, const char *mode) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", getenv("STAND_IN_GIVES"), name);
    return fopen(path, mode);
}

static FILE *pictures_of(unsigned int format) {
    return beside(format == V4L2_PIX_FMT_H264 ? "H264" : format == V4L2_PIX_FMT_MJPEG ? "MJPG" : "none", "rb");
}

/* A driver gives what it can where it cannot give what is asked for. */
static void set_format(struct v4l2_pix_format *asked) {
    unsigned int formats[] = {asked->pixelformat, V4L2_PIX_FMT_H264, V4L2_PIX_FMT_MJPEG};
    if (pictures != NULL) fclose(pictures);
    pictures = NULL;
    for (int number = 0; number < 3 && pictures == NULL; number++) {
        asked->pixelformat = formats[number];
        pictures = pictures_of(formats[number]);
    }
    asked->field = V4L2_FIELD_NONE;
    asked->sizeimage = SIZE;
    shown = *asked;
    FILE *log = beside("asked", "a");
    fprintf(log, "%.4s %ux%u\n", (char *)&shown.pixelformat, shown.width, shown.height);
    fclose(log);
}

static void set_rate(struct v4l2_fract *each) {
    FILE *log = beside("asked", "a");
    fprintf(log, "%u a second\n", each->denominator / each->numerator);
    fclose(log);
}

static int has_failed(void) {
    char path[4096];
    snprintf(path, sizeof path, "%s/fail", getenv("STAND_IN_GIVES"));
    failed = failed || unlink(path) == 0;
    return failed;
}

/* The next picture, after a hundredth of a second. */
static int take(struct v4l2_buffer *buffer) {
    struct timespec pause = {.tv_nsec = 10000000};
    nanosleep(&pause, NULL);
    if (access(getenv("STAND_IN_DEVICE"), F_OK) != 0) return errno = ENODEV, -1;
    if (has_failed()) return errno = EIO, -1;
    if (queued == 0) return errno = EAGAIN, -1;
    unsigned char length[4], data[SIZE];
    if (fread(length, 1, 4, pictures) != 4) {
        rewind(pictures);
        if (fread(length, 1, 4, pictures) != 4) return errno = EIO, -1;
    }
    size_t size = length[0] | length[1] << 8 | length[2] << 16;
    if (size > SIZE || fread(data, 1, size, pictures) != size) return errno = EIO, -1;
    buffer->index = waiting[first];
    first = (first + 1) % BUFFERS;
    queued--;
    if (pwrite(device, data, size, (off_t)buffer->index * SIZE) != (ssize_t)size) return -1;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    buffer->timestamp = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    buffer->flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
    buffer->bytesused = size;
    return 0;
}

static int control(unsigned int request, void *argument) {
    struct v4l2_capability *capability = argument;
    struct v4l2_format *format = argument;
    struct v4l2_streamparm *rate = argument;
    struct v4l2_requestbuffers *buffers = argument;
    struct v4l2_buffer *buffer = argument;
    switch (request) {
    case VIDIOC_QUERYCAP:
        memset(capability, 0, sizeof *capability);
        capability->capabilities = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
        return 0;
    case VIDIOC_G_INPUT:
        *(int *)argument = 0;
        return 0;
    case VIDIOC_ENUMINPUT:
        ((struct v4l2_input *)argument)->std = 0;
        return 0;
    case VIDIOC_G_FMT:
        format->fmt.pix = shown;
        return 0;
    case VIDIOC_S_FMT:
        set_format(&format->fmt.pix);
        return 0;
    case VIDIOC_S_PARM:
        set_rate(&rate->parm.capture.timeperframe);
        return 0;
    case VIDIOC_G_PARM:
        rate->parm.capture.capability = V4L2_CAP_TIMEPERFRAME;
        rate->parm.capture.timeperframe = (struct v4l2_fract){1, 30};
        return 0;
    case VIDIOC_REQBUFS:
        buffers->count = BUFFERS;
        first = queued = failed = 0;
        return ftruncate(device, BUFFERS * SIZE);
    case VIDIOC_QUERYBUF:
        buffer->length = SIZE;
        buffer->m.offset = buffer->index * SIZE;
        return 0;
    case VIDIOC_QBUF:
        waiting[(first + queued++) % BUFFERS] = buffer->index;
        return 0;
    case VIDIOC_DQBUF:
        return take(buffer);
    case VIDIOC_STREAMON:
    case VIDIOC_STREAMOFF:
        return 0;
    default:
        return errno = ENOTTY, -1;
    }
}

int ioctl(int descriptor, unsigned long request, ...) {
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (descriptor == device && device >= 0) return control(request, argument);
    int (*real)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
    return real(descriptor, request, argument);
}

static int opened(const char *name, const char *path, int flags, int mode) {
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, name);
    int descriptor = real(path, flags, mode);
    if (descriptor >= 0 && strcmp(path, getenv("STAND_IN_DEVICE")) == 0) device = descriptor;
    return descriptor;
}

static int mode_of(int flags, va_list arguments) {
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, int) : 0;
}

int open(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    int mode = mode_of(flags, arguments);
    va_end(arguments);
    return opened("open", path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    int mode = mode_of(flags, arguments);
    va_end(arguments);
    return opened("open64", path, flags, mode);
}

int close(int descriptor) {
    if (descriptor == device) device = -1;
    int (*real)(int) = dlsym(RTLD_NEXT, "close");
    return real(descriptor);
}
