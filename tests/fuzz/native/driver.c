/* libFuzzer over a Python interpreter: runs the target that is linked with it, which is a Cython module
 * with a C function. The extensions under test are instrumented and loaded as Python loads them.
 *
 * An input is a program of records of RECORD bytes; half of the mutations are of whole records.
 *
 * Environment:
 *   PEERFETCH_FUZZ_PYTHON  the interpreter whose packages are used (of a virtual environment)
 *   PEERFETCH_FUZZ_STEPS, PEERFETCH_FUZZ_SECONDS
 *                          stop after so much; what was run is printed
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "target.h" /* the module's public functions, as Cython declares them */

#define RECORD 8

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

static uint64_t steps, programs, most_steps = UINT64_MAX;
static double most_seconds = 1e9;
static struct timespec began;

static double seconds_gone(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - began.tv_sec) + 1e-9 * (double)(now.tv_nsec - began.tv_nsec);
}

static void report(void)
{
    double seconds = seconds_gone();
    fprintf(stderr, "%llu steps of %llu programs in %.0f s: %.0f steps/s\n",
            (unsigned long long)steps, (unsigned long long)programs, seconds,
            (double)steps / seconds);
}

static void must(PyStatus status)
{
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    const char *python = getenv("PEERFETCH_FUZZ_PYTHON"), *most = getenv("PEERFETCH_FUZZ_STEPS");
    const char *longest = getenv("PEERFETCH_FUZZ_SECONDS");
    PyConfig config;
    PyConfig_InitPythonConfig(&config);
    config.install_signal_handlers = 0;
    if (python != NULL)
        must(PyConfig_SetBytesString(&config, &config.program_name, python));
    if (PyImport_AppendInittab("target", PyInit_target) < 0)
        abort();
    must(Py_InitializeFromConfig(&config));
    PyConfig_Clear(&config);
    if (PyImport_ImportModule("target") == NULL) {
        PyErr_Print();
        abort();
    }
    if (most != NULL)
        most_steps = strtoull(most, NULL, 10);
    if (longest != NULL)
        most_seconds = strtod(longest, NULL);
    clock_gettime(CLOCK_MONOTONIC, &began);
    atexit(report);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int done = fuzz_one(data, size);
    if (done < 0) {
        PyErr_Print();
        fflush(stderr);
        abort();
    }
    steps += (uint64_t)done;
    programs++;
    if (steps >= most_steps || seconds_gone() >= most_seconds) {
        report();
        fflush(NULL);
        /* To libFuzzer, exit() within a target is a fault. */
        _exit(0);
    }
    return 0;
}

static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static const uint8_t INTERESTING[] = {0, 1, 2, 3, 7, 8, 15, 16, 63, 127, 128, 192, 200, 253, 254, 255};

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    uint32_t state = seed | 1;
    size_t records = size / RECORD, at, from;
    uint8_t record[RECORD];
    if (records < 2 || next_random(&state) % 2)
        return LLVMFuzzerMutate(data, size, max_size);
    at = next_random(&state) % records * RECORD;
    from = next_random(&state) % records * RECORD;
    switch (next_random(&state) % 6) {
    case 0: /* remove one */
        memmove(data + at, data + at + RECORD, size - at - RECORD);
        return size - RECORD;
    case 1: /* repeat one somewhere */
    case 2: /* insert a new one */
        if (size + RECORD > max_size)
            return LLVMFuzzerMutate(data, size, max_size);
        memcpy(record, data + from, RECORD);
        if (next_random(&state) % 2)
            for (size_t index = 0; index < RECORD; index++)
                record[index] = (uint8_t)next_random(&state);
        memmove(data + at + RECORD, data + at, size - at);
        memcpy(data + at, record, RECORD);
        return size + RECORD;
    case 3: /* exchange two */
        memcpy(record, data + at, RECORD);
        memcpy(data + at, data + from, RECORD);
        memcpy(data + from, record, RECORD);
        return size;
    default: /* change one field */
        data[at + next_random(&state) % RECORD] =
            next_random(&state) % 2 ? INTERESTING[next_random(&state) % sizeof INTERESTING]
                                    : (uint8_t)next_random(&state);
        return size;
    }
}
