/* Starts Python inside ganesha.nfsd, once. It is never finalised: Python's main thread sits in Ganesha's join. */
#include "native.h"

#include <dlfcn.h>

static bool python_runs;

bool pyg_python_runs(void)
{
	return python_runs;
}

void pyg_log(int level, const char *text)
{
	switch (level) {
	case 0:
		LogCrit(COMPONENT_FSAL, "PYGANESHA: %s", text);
		break;
	case 1:
		LogWarn(COMPONENT_FSAL, "PYGANESHA: %s", text);
		break;
	case 2:
		LogEvent(COMPONENT_FSAL, "PYGANESHA: %s", text);
		break;
	default:
		LogDebug(COMPONENT_FSAL, "PYGANESHA: %s", text);
	}
}

static int initialize_interpreter(void)
{
	PyConfig config;
	PyStatus status;

	/* Extension modules expect the interpreter's symbols in the global scope; this plugin was loaded with RTLD_LOCAL. */
	if (!dlopen(PYGANESHA_LIBPYTHON, RTLD_NOW | RTLD_GLOBAL)) {
		LogCrit(COMPONENT_FSAL, "PYGANESHA: %s", dlerror());
		return -1;
	}
	if (PyImport_AppendInittab("_pyganesha_native", PyInit__pyganesha_native)) {
		LogCrit(COMPONENT_FSAL, "PYGANESHA: no memory for the module table");
		return -1;
	}
	PyConfig_InitPythonConfig(&config);
	config.install_signal_handlers = 0; /* signals are Ganesha's */
	config.parse_argv = 0;
	status = PyConfig_SetBytesString(&config, &config.executable, pyg_module.python);
	if (!PyStatus_Exception(status))
		status = Py_InitializeFromConfig(&config);
	PyConfig_Clear(&config);
	if (PyStatus_Exception(status)) {
		LogCrit(COMPONENT_FSAL, "PYGANESHA: Python does not start: %s", status.err_msg ? status.err_msg : "unknown error");
		return -1;
	}
	return 0;
}

/* Another build's standard library would load silently and break later, at its first extension module. */
static bool right_build(void)
{
	PyObject *prefix = PySys_GetObject("base_prefix");
	const char *text = prefix && PyUnicode_Check(prefix) ? PyUnicode_AsUTF8(prefix) : NULL;

	if (text && strcmp(text, PYGANESHA_BASE_PREFIX) == 0 && strncmp(Py_GetVersion(), PY_VERSION " ", strlen(PY_VERSION) + 1) == 0)
		return true;
	LogCrit(COMPONENT_FSAL, "PYGANESHA: Python = %s belongs to the Python in %s and runs %.16s; this plugin was built for %s in %s",
		pyg_module.python, text ? text : "?", Py_GetVersion(), PY_VERSION, PYGANESHA_BASE_PREFIX);
	PyErr_Clear();
	return false;
}

/* Puts the directories of `Path` (separated by colons) before the others. */
static int extend_path(void)
{
	PyObject *path = PySys_GetObject("path");
	PyObject *text = PyUnicode_DecodeFSDefault(pyg_module.path);
	PyObject *colon = PyUnicode_FromString(":");
	PyObject *parts = text && colon ? PyUnicode_Split(text, colon, -1) : NULL;
	int rc = parts && path ? PyList_SetSlice(path, 0, 0, parts) : -1;

	Py_XDECREF(parts);
	Py_XDECREF(colon);
	Py_XDECREF(text);
	return rc;
}

static int load_native_module(void)
{
	PyObject *module;

	if (!right_build())
		return -1;
	if (pyg_module.path && pyg_module.path[0] && extend_path())
		goto failed;
	module = PyImport_ImportModule("_pyganesha_native");
	if (!module)
		goto failed;
	Py_DECREF(module); /* sys.modules keeps it */
	return 0;
failed:
	PyErr_Print();
	LogCrit(COMPONENT_FSAL, "PYGANESHA: %s cannot be imported by %s; is it installed there?", PYGANESHA_PACKAGE, pyg_module.python);
	return -1;
}

int pyg_start_python(void)
{
	int rc;

	if (python_runs)
		return 0;
	if (initialize_interpreter())
		return -1;
	pyg_thread_init();
	rc = load_native_module();
	PyEval_SaveThread();
	pyg_thread_keep();
	if (rc)
		return -1;
	python_runs = true;
	LogEvent(COMPONENT_FSAL, "PYGANESHA: Python %.16s, %s", Py_GetVersion(), pyg_module.python);
	return 0;
}
