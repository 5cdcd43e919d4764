/* A PKCS#11 module that stands before another one, writes down who calls what, and misbehaves on demand.
 *
 * SHIM_REAL is the file of the real module. SHIM_DIR is a folder: the file "calls" there gets a line for each call
 * that is watched, "NAME RESULT DETAIL" in hex; the file "fault" holds "NAME WHAT COUNT" and lets the next COUNT
 * calls of NAME end in WHAT: a return value in hex (0x...), or one of crash, spin, hang, fork, print, die (the call is
 * made, and the process ends before its result is known), stuck (an error that leaves the operation begun).
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long ulong;
typedef ulong (*function)(ulong, ulong, ulong, ulong, ulong, ulong, ulong, ulong);

/* CK_FUNCTION_LIST of PKCS#11 v2.40: a version, then these in the order of pkcs11f.h. */
enum { INITIALIZE = 0, GET_FUNCTION_LIST = 3, GET_SLOT_LIST = 4, GET_TOKEN_INFO = 6,
       GET_MECHANISM_LIST = 7, OPEN_SESSION = 12, LOGIN = 18, SIGN = 43, FUNCTIONS = 68 };
struct list { unsigned char version[2]; function f[FUNCTIONS]; };

static struct list *real, mine;

static void note(const char *name, ulong result, ulong detail) {
  char path[4096], line[128];
  snprintf(path, sizeof path, "%s/calls", getenv("SHIM_DIR"));
  int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  int size = snprintf(line, sizeof line, "%s %lx %lx\n", name, result, detail);
  if (fd < 0 || write(fd, line, size) != size) abort();
  close(fd);
}

/* Take one fault of this name, if one is due. */
static int due(const char *name, char *what) {
  char path[4096], found[64];
  int count = 0;
  snprintf(path, sizeof path, "%s/fault", getenv("SHIM_DIR"));
  FILE *file = fopen(path, "r");
  if (!file) return 0;
  int read = fscanf(file, "%63s %63s %d", found, what, &count);
  fclose(file);
  if (read != 3 || count < 1 || strcmp(found, name)) return 0;
  file = fopen(path, "w");
  fprintf(file, "%s %s %d\n", found, what, count - 1);
  fclose(file);
  return 1;
}

static ulong through(int index, const char *name, ulong detail, ulong a, ulong b, ulong c, ulong d, ulong e) {
  char what[64] = "";
  int faulty = due(name, what);
  if (!faulty) what[0] = 0;
  if (faulty && !strncmp(what, "0x", 2)) {
    ulong result = strtoul(what, NULL, 16);
    if (index == SIGN) { /* A signature that fails ends its operation. */
      unsigned char nowhere[1024];
      ulong size = sizeof nowhere;
      real->f[SIGN](a, b, c, (ulong)nowhere, (ulong)&size, 0, 0, 0);
    }
    note(name, result, detail);
    return result;
  }
  if (faulty) note(name, 0xdead, detail);
  if (!strcmp(what, "stuck")) return 6; /* CKR_FUNCTION_FAILED */
  if (!strcmp(what, "crash")) raise(SIGSEGV);
  if (!strcmp(what, "spin")) for (;;) __asm__ volatile("");
  if (!strcmp(what, "hang")) for (;;) pause();
  if (!strcmp(what, "print")) { printf("a module that talks\n"); fflush(stdout); }
  if (!strcmp(what, "fork")) {
    pid_t child = fork();
    if (child == 0) for (;;) pause();
    note("fork", 0, child);
  }
  ulong result = real->f[index](a, b, c, d, e, 0, 0, 0);
  if (!faulty) note(name, result, detail);
  if (!strcmp(what, "die")) raise(SIGKILL);
  return result;
}

static ulong initialize(ulong args, ulong b, ulong c, ulong d, ulong e, ulong f, ulong g, ulong h) {
  /* CK_C_INITIALIZE_ARGS: four functions, then the flags. */
  return through(INITIALIZE, "C_Initialize", args ? ((ulong *)args)[4] : 0, args, b, c, d, e);
}
static ulong get_slot_list(ulong a, ulong b, ulong c, ulong d, ulong e, ulong f, ulong g, ulong h) {
  return through(GET_SLOT_LIST, "C_GetSlotList", 0, a, b, c, d, e);
}
static ulong get_token_info(ulong a, ulong info, ulong c, ulong d, ulong e, ulong f, ulong g, ulong h) {
  /* CK_TOKEN_INFO: 32 + 32 + 16 + 16 bytes of text, then the flags. */
  const char *extra = getenv("SHIM_TOKEN_FLAGS");
  ulong result = real->f[GET_TOKEN_INFO](a, info, c, d, e, f, g, h);
  if (result == 0 && extra) *(ulong *)(info + 96) |= strtoul(extra, NULL, 16);
  return result;
}
static ulong get_mechanism_list(ulong a, ulong list, ulong count, ulong d, ulong e, ulong f, ulong g, ulong h) {
  const char *missing = getenv("SHIM_NO_MECHANISM");
  ulong result = real->f[GET_MECHANISM_LIST](a, list, count, d, e, f, g, h);
  for (ulong i = 0; result == 0 && list && missing && i < *(ulong *)count; i++)
    if (((ulong *)list)[i] == strtoul(missing, NULL, 16)) ((ulong *)list)[i] = 0x80000999;
  return result;
}
static ulong open_session(ulong a, ulong b, ulong c, ulong d, ulong e, ulong f, ulong g, ulong h) {
  return through(OPEN_SESSION, "C_OpenSession", 0, a, b, c, d, e);
}
static ulong login(ulong a, ulong user, ulong c, ulong d, ulong e, ulong f, ulong g, ulong h) {
  return through(LOGIN, "C_Login", user, a, user, c, d, e);
}
static ulong sign(ulong a, ulong b, ulong c, ulong d, ulong e, ulong f, ulong g, ulong h) {
  if (!d) return real->f[SIGN](a, b, c, d, e, f, g, h); /* Only the length is asked for. */
  return through(SIGN, "C_Sign", a, a, b, c, d, e);
}

ulong C_GetFunctionList(struct list **out);

static ulong list_again(ulong out, ulong b, ulong c, ulong d, ulong e, ulong f, ulong g, ulong h) {
  return C_GetFunctionList((struct list **)out);
}

ulong C_GetFunctionList(struct list **out) {
  if (!real) {
    void *module = dlopen(getenv("SHIM_REAL"), RTLD_NOW | RTLD_LOCAL);
    ulong (*get)(struct list **) = module ? dlsym(module, "C_GetFunctionList") : NULL;
    if (!get || get(&real)) return 5; /* CKR_GENERAL_ERROR */
    mine = *real;
    mine.f[INITIALIZE] = initialize;
    mine.f[GET_FUNCTION_LIST] = list_again;
    mine.f[GET_SLOT_LIST] = get_slot_list;
    mine.f[GET_TOKEN_INFO] = get_token_info;
    mine.f[GET_MECHANISM_LIST] = get_mechanism_list;
    mine.f[OPEN_SESSION] = open_session;
    mine.f[LOGIN] = login;
    mine.f[SIGN] = sign;
  }
  *out = &mine;
  return 0;
}
