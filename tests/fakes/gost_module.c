/* A PKCS#11 module with GOST R 34.10-2012 keys in a folder: it stands in for a vendor's.
 *
 * Signatures and digests are real, by OpenSSL's engine "gost". Mechanisms and key types have the numbers of TC26, and
 * what is reported of vendors can be switched on:
 *
 *   STANDIN_DIR         the folder: NAME.pem is a private key (PKCS#8), NAME.crt a certificate in DER. NAME is label and id.
 *   STANDIN_PIN         the user's PIN. The file "failed" of the folder counts wrong ones; at the third it is locked.
 *   STANDIN_LABEL       the token's label, "gost" where it is not set
 *   STANDIN_MECHANISMS  numbers in hex with commas between them, where it offers less than all
 *   STANDIN_REVERSED    a signature's bytes come out last first, as CryptoPro's own API has them
 *   STANDIN_WANTS_OID   a mechanism without the digest's identifier in DER as its parameter is refused
 *   STANDIN_REFUSES     a mechanism is listed, and refused when it is used
 *   STANDIN_WRAPS       a public key stands in an OCTET STRING
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long ulong;
typedef unsigned char byte;
typedef ulong (*function)(ulong, ulong, ulong, ulong, ulong, ulong, ulong, ulong);

/* libcrypto, as far as it is used; its headers need not be there. */
typedef struct engine ENGINE;
typedef struct key EVP_PKEY;
typedef struct key_context EVP_PKEY_CTX;
typedef struct md EVP_MD;
ENGINE *ENGINE_by_id(const char *);
int ENGINE_init(ENGINE *), ENGINE_register_pkey_asn1_meths(ENGINE *), ENGINE_register_pkey_meths(ENGINE *);
const EVP_MD *ENGINE_get_digest(ENGINE *, int);
int OBJ_txt2nid(const char *);
int EVP_Digest(const void *, size_t, byte *, unsigned *, const EVP_MD *, ENGINE *);
EVP_PKEY *PEM_read_PrivateKey(FILE *, EVP_PKEY **, void *, void *);
int i2d_PUBKEY(EVP_PKEY *, byte **);
EVP_PKEY_CTX *EVP_PKEY_CTX_new(EVP_PKEY *, ENGINE *);
int EVP_PKEY_sign_init(EVP_PKEY_CTX *), EVP_PKEY_sign(EVP_PKEY_CTX *, byte *, size_t *, const byte *, size_t);
void EVP_PKEY_CTX_free(EVP_PKEY_CTX *);

enum { OK = 0, ARGUMENTS_BAD = 0x7, ATTRIBUTE_SENSITIVE = 0x11, ATTRIBUTE_TYPE_INVALID = 0x12, DATA_LEN_RANGE = 0x21,
       FUNCTION_NOT_SUPPORTED = 0x54, KEY_HANDLE_INVALID = 0x60, KEY_TYPE_INCONSISTENT = 0x63, MECHANISM_INVALID = 0x70,
       MECHANISM_PARAM_INVALID = 0x71, OPERATION_NOT_INITIALIZED = 0x91, PIN_INCORRECT = 0xa0, PIN_LOCKED = 0xa4,
       SESSION_HANDLE_INVALID = 0xb3, SESSION_COUNT = 0xb1, USER_ALREADY_LOGGED_IN = 0x100, BUFFER_TOO_SMALL = 0x150,
       NOT_INITIALIZED = 0x190, ALREADY_INITIALIZED = 0x191, GENERAL_ERROR = 0x5 };
enum { CERTIFICATE = 1, PUBLIC_KEY = 2, PRIVATE_KEY = 3 };
#define TC26 0xd4321000ul
static const ulong every[] = {0x1201, TC26 + 0x6, TC26 + 0x8, TC26 + 0x9};
static const byte digest_oid[2][10] = {{6, 8, 0x2a, 0x85, 3, 7, 1, 1, 2, 2}, {6, 8, 0x2a, 0x85, 3, 7, 1, 1, 2, 3}};

struct blob { byte *data; ulong size; };
struct object { ulong class, type; char name[64]; struct blob params, digest, value; EVP_PKEY *key; };
struct session { int open, found, finding, signing; ulong matches[64], count, mechanism; };
struct attribute { ulong type; void *value; ulong size; };
struct mechanism { ulong number; void *parameter; ulong size; };

static ENGINE *engine;
static struct object objects[64];
static struct session sessions[128];
static int count, logged_in;

static struct blob copied(const byte *data, ulong size) {
  struct blob made = {malloc(size ? size : 1), size};
  memcpy(made.data, data, size);
  return made;
}

/* The element at *at: its content, and *at moves behind it. */
static struct blob element(const byte **at) {
  const byte *p = *at + 1;
  ulong size = *p++;
  if (size & 0x80) {
    int octets = size & 0x7f;
    for (size = 0; octets--; ) size = size << 8 | *p++;
  }
  *at = p + size;
  return (struct blob){(byte *)p, size};
}

static void add_key(const char *name, EVP_PKEY *key) {
  byte *spki = NULL;
  if (i2d_PUBKEY(key, &spki) <= 0) return;
  const byte *at = spki, *inner;
  struct blob whole = element(&at), algorithm, kind, params, point;
  at = whole.data;
  algorithm = element(&at);
  point = element(&at);
  inner = algorithm.data;
  kind = element(&inner);
  /* 1.2.643.7.1.1.1.1 and .2; 1.2.643.2.2.19, the keys of 2001, has the key type of the first. */
  static const byte new[7] = {0x2a, 0x85, 3, 7, 1, 1, 1}, old[6] = {0x2a, 0x85, 3, 2, 2, 0x13};
  int is_new = kind.size == 8 && !memcmp(kind.data, new, 7), is_old = kind.size == 6 && !memcmp(kind.data, old, 6);
  struct object made = {.type = 0x80000999, .key = key};
  snprintf(made.name, sizeof made.name, "%s", name);
  if (is_new || is_old) {
    params = element(&inner);
    const byte *p = params.data, *value = point.data + 1;
    element(&p);
    made.params = copied(params.data, p - params.data);
    made.type = is_new && kind.data[7] == 2 ? TC26 + 3 : 0x30;
    if (is_old) made.digest = copied((const byte *)"\6\7\x2a\x85\3\2\2\x1e\1", 9);
    else made.digest = copied(digest_oid[kind.data[7] - 1], 10);
    struct blob octets = element(&value);
    made.value = getenv("STANDIN_WRAPS") ? copied(point.data + 1, point.size - 1) : copied(octets.data, octets.size);
  }
  for (made.class = PUBLIC_KEY; made.class <= PRIVATE_KEY; made.class++) objects[count++] = made;
}

static void load(void) {
  DIR *folder = opendir(getenv("STANDIN_DIR"));
  struct dirent *entry;
  count = 0;
  while (folder && (entry = readdir(folder)) && count < 60) {
    char path[4096], name[64], *end = strrchr(entry->d_name, '.');
    if (!end || (strcmp(end, ".pem") && strcmp(end, ".crt"))) continue;
    snprintf(path, sizeof path, "%s/%s", getenv("STANDIN_DIR"), entry->d_name);
    snprintf(name, sizeof name, "%.*s", (int)(end - entry->d_name), entry->d_name);
    FILE *file = fopen(path, "r");
    if (!file) continue;
    if (!strcmp(end, ".pem")) {
      EVP_PKEY *key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
      if (key) add_key(name, key);
    } else {
      byte der[8192];
      struct object made = {.class = CERTIFICATE};
      made.value = copied(der, fread(der, 1, sizeof der, file));
      snprintf(made.name, sizeof made.name, "%s", name);
      objects[count++] = made;
    }
    fclose(file);
  }
  if (folder) closedir(folder);
}

static int failures(int change) {
  char path[4096];
  int so_far = 0;
  snprintf(path, sizeof path, "%s/failed", getenv("STANDIN_DIR"));
  FILE *file = fopen(path, "r");
  if (file) {
    if (fscanf(file, "%d", &so_far) != 1) so_far = 0;
    fclose(file);
  }
  if (change) {
    so_far = change > 0 ? so_far + 1 : 0;
    file = fopen(path, "w");
    fprintf(file, "%d\n", so_far);
    fclose(file);
  }
  return so_far;
}

static int offered(ulong number) {
  const char *list = getenv("STANDIN_MECHANISMS");
  if (!list) return 1;
  while (*list) {
    char *end;
    if (strtoul(list, &end, 16) == number) return 1;
    list = *end ? end + 1 : end;
  }
  return 0;
}

static void padded(void *to, const char *text, int size) {
  memset(to, ' ', size);
  memcpy(to, text, strlen(text));
}

#define A ulong a, ulong b, ulong c, ulong d, ulong e, ulong f, ulong g, ulong h
#define SESSION struct session *s = a && a < 128 && sessions[a].open ? &sessions[a] : NULL; if (!s) return SESSION_HANDLE_INVALID

static ulong unsupported(A) { return FUNCTION_NOT_SUPPORTED; }
static ulong initialize(A) {
  if (engine) return ALREADY_INITIALIZED;
  engine = ENGINE_by_id("gost");
  if (!engine || !ENGINE_init(engine)) { engine = NULL; return GENERAL_ERROR; }
  ENGINE_register_pkey_asn1_meths(engine);
  ENGINE_register_pkey_meths(engine);
  load();
  return OK;
}
static ulong finalize(A) {
  if (!engine) return NOT_INITIALIZED;
  engine = NULL;
  logged_in = 0;
  memset(sessions, 0, sizeof sessions);
  return OK;
}
static ulong get_info(A) {
  struct { byte v[2], maker[32]; ulong flags; byte what[32], w[2]; } *info = (void *)a;
  memset(info, 0, sizeof *info);
  info->v[0] = 2, info->v[1] = 40;
  padded(info->maker, "stand-in", 32);
  padded(info->what, "GOST keys in a folder", 32);
  return OK;
}
static ulong get_slot_list(A) {
  if (b) *(ulong *)b = 0;
  *(ulong *)c = 1;
  return OK;
}
static ulong get_slot_info(A) {
  struct { byte what[64], maker[32]; ulong flags; byte v[4]; } *info = (void *)b;
  memset(info, 0, sizeof *info);
  padded(info->what, "a folder", 64);
  padded(info->maker, "stand-in", 32);
  info->flags = 1; /* CKF_TOKEN_PRESENT */
  return OK;
}
static ulong get_token_info(A) {
  struct { byte label[32], maker[32], model[16], serial[16]; ulong flags, sizes[10]; byte v[4], time[16]; } *info = (void *)b;
  int failed = failures(0);
  memset(info, 0, sizeof *info);
  padded(info->label, getenv("STANDIN_LABEL") ? getenv("STANDIN_LABEL") : "gost", 32);
  padded(info->maker, "stand-in", 32);
  padded(info->model, "folder", 16);
  padded(info->serial, "1", 16);
  /* CKF_RNG, CKF_LOGIN_REQUIRED, CKF_USER_PIN_INITIALIZED, CKF_TOKEN_INITIALIZED; then low, final try, locked. */
  info->flags = 0x40d | (failed == 1 ? 0x10000 : failed == 2 ? 0x30000 : failed > 2 ? 0x40000 : 0);
  return OK;
}
static ulong get_mechanism_list(A) {
  ulong found = 0;
  for (int i = 0; i < 4; i++)
    if (offered(every[i])) {
      if (b) ((ulong *)b)[found] = every[i];
      found++;
    }
  *(ulong *)c = found;
  return OK;
}
static ulong open_session(A) {
  for (int i = 1; i < 128; i++)
    if (!sessions[i].open) {
      sessions[i] = (struct session){.open = 1};
      *(ulong *)e = i;
      return OK;
    }
  return SESSION_COUNT;
}
static ulong close_session(A) {
  SESSION;
  s->open = 0;
  for (int i = 1; i < 128; i++)
    if (sessions[i].open) return OK;
  logged_in = 0;
  return OK;
}
static ulong login(A) {
  SESSION;
  (void)s;
  if (logged_in) return USER_ALREADY_LOGGED_IN;
  if (failures(0) > 2) return PIN_LOCKED;
  const char *pin = getenv("STANDIN_PIN");
  if (!pin || strlen(pin) != d || memcmp(pin, (void *)c, d)) {
    failures(1);
    return PIN_INCORRECT;
  }
  failures(-1);
  logged_in = 1;
  return OK;
}
static ulong logout(A) {
  SESSION;
  (void)s;
  logged_in = 0;
  return OK;
}

/* What an object has of a type: 1 and the bytes, 0 where there is none, -1 where it is not shown. */
static int held(struct object *o, ulong type, struct blob *out) {
  static ulong number;
  static byte flag;
  int key = o->class != CERTIFICATE, private = o->class == PRIVATE_KEY;
  *out = (struct blob){(byte *)&number, sizeof number};
  switch (type) {
    case 0x0: number = o->class; return 1;
    case 0x3: case 0x102: *out = (struct blob){(byte *)o->name, strlen(o->name)}; return 1;
    case 0x11: if (private) return -1; *out = o->value; return out->data != NULL;
    case 0x80: number = 0; return !key;
    case 0x100: number = o->type; return key;
    case 0x250: *out = o->params; return out->data != NULL;
    case 0x251: *out = o->digest; return out->data != NULL;
  }
  *out = (struct blob){&flag, 1};
  flag = type == 0x1 || (private && (type == 0x2 || type == 0x103 || type == 0x108 || type == 0x163)) ||
         (o->class == PUBLIC_KEY && type == 0x10a);
  if (type == 0x1 || type == 0x2) return 1;
  return key && ((type >= 0x103 && type <= 0x10c) || (type >= 0x162 && type <= 0x165) || type == 0x202);
}
static struct object *named(ulong handle) {
  struct object *o = handle && handle <= (ulong)count ? &objects[handle - 1] : NULL;
  return o && (o->class != PRIVATE_KEY || logged_in) ? o : NULL;
}
static ulong get_attribute_value(A) {
  SESSION;
  (void)s;
  struct object *o = named(b);
  if (!o) return 0x82; /* CKR_OBJECT_HANDLE_INVALID */
  ulong result = OK;
  for (ulong i = 0; i < d; i++) {
    struct attribute *wanted = (struct attribute *)c + i;
    struct blob has;
    int there = held(o, wanted->type, &has);
    if (there < 1) result = there ? ATTRIBUTE_SENSITIVE : ATTRIBUTE_TYPE_INVALID;
    else if (wanted->value && wanted->size < has.size) result = BUFFER_TOO_SMALL;
    else if (wanted->value) memcpy(wanted->value, has.data, has.size);
    wanted->size = there < 1 ? (ulong)-1 : has.size;
  }
  return result;
}
static ulong find_init(A) {
  SESSION;
  s->finding = 1, s->found = 0, s->count = 0;
  for (int i = 1; i <= count; i++) {
    int fits = named(i) != NULL;
    for (ulong k = 0; fits && k < c; k++) {
      struct attribute *wanted = (struct attribute *)b + k;
      struct blob has;
      fits = held(named(i), wanted->type, &has) == 1 && has.size == wanted->size && !memcmp(has.data, wanted->value, has.size);
    }
    if (fits) s->matches[s->count++] = i;
  }
  return OK;
}
static ulong find(A) {
  SESSION;
  if (!s->finding) return OPERATION_NOT_INITIALIZED;
  ulong given = 0;
  while (given < c && (ulong)s->found < s->count) ((ulong *)b)[given++] = s->matches[s->found++];
  *(ulong *)d = given;
  return OK;
}
static ulong find_final(A) {
  SESSION;
  s->finding = 0;
  return OK;
}
static ulong sign_init(A) {
  SESSION;
  struct mechanism *m = (void *)b;
  struct object *o = named(c);
  if (!o || o->class != PRIVATE_KEY) return KEY_HANDLE_INVALID;
  int known = 0;
  for (int i = 0; i < 4; i++) known |= every[i] == m->number && offered(m->number);
  if (!known || getenv("STANDIN_REFUSES")) return MECHANISM_INVALID;
  int wide = m->number == TC26 + 6 || m->number == TC26 + 9;
  if (o->type != (wide ? TC26 + 3 : 0x30)) return KEY_TYPE_INCONSISTENT;
  if (getenv("STANDIN_WANTS_OID") && (m->size != 10 || memcmp(m->parameter, digest_oid[wide], 10)))
    return MECHANISM_PARAM_INVALID;
  s->signing = c, s->mechanism = m->number;
  return OK;
}
static ulong sign(A) {
  SESSION;
  if (!s->signing) return OPERATION_NOT_INITIALIZED;
  int wide = s->mechanism == TC26 + 6 || s->mechanism == TC26 + 9, hashes = s->mechanism >= TC26 + 8;
  size_t size = wide ? 128 : 64;
  if (!d || *(ulong *)e < size) {
    *(ulong *)e = size;
    return d ? BUFFER_TOO_SMALL : OK;
  }
  byte digest[64];
  unsigned length = wide ? 64 : 32;
  EVP_PKEY *key = objects[s->signing - 1].key;
  s->signing = 0;
  if (hashes) {
    const EVP_MD *md = ENGINE_get_digest(engine, OBJ_txt2nid(wide ? "md_gost12_512" : "md_gost12_256"));
    if (!md || !EVP_Digest((void *)b, c, digest, &length, md, engine)) return GENERAL_ERROR;
  } else if (c != length) return DATA_LEN_RANGE;
  else memcpy(digest, (void *)b, length);
  EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, engine);
  byte *out = (byte *)d;
  int good = context && EVP_PKEY_sign_init(context) > 0 && EVP_PKEY_sign(context, out, &size, digest, length) > 0;
  EVP_PKEY_CTX_free(context);
  if (!good) return GENERAL_ERROR;
  for (size_t i = 0; getenv("STANDIN_REVERSED") && i < size / 2; i++) {
    byte kept = out[i];
    out[i] = out[size - 1 - i];
    out[size - 1 - i] = kept;
  }
  *(ulong *)e = size;
  return OK;
}

struct list { byte version[2]; function f[68]; };
ulong C_GetFunctionList(struct list **out);
static ulong list_again(A) { return C_GetFunctionList((struct list **)a); }

ulong C_GetFunctionList(struct list **out) {
  static struct list mine = {{2, 40}, {
    [0] = initialize, [1] = finalize, [2] = get_info, [3] = list_again, [4] = get_slot_list, [5] = get_slot_info,
    [6] = get_token_info, [7] = get_mechanism_list, [12] = open_session, [13] = close_session, [18] = login,
    [19] = logout, [24] = get_attribute_value, [26] = find_init, [27] = find, [28] = find_final, [42] = sign_init,
    [43] = sign,
  }};
  for (int i = 0; i < 68; i++)
    if (!mine.f[i]) mine.f[i] = unsupported;
  *out = &mine;
  return OK;
}
