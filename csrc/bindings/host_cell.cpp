#include "bindings/host_cell.h"

#include <memory>
#include <new>

#include "bindings/convert.h"
#include "bindings/module.h"
#include "bindings/static_type.h"

namespace gorgo {

PyTypeObject host_cell_type{};

namespace {

PyObject* cell_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) noexcept {
  return guarded([&]() -> PyObject* {
    if ((kwargs != nullptr && PyDict_GET_SIZE(kwargs) != 0) || PyTuple_GET_SIZE(args) != 1) {
      fail<TypeError>("HostCell: arguments are (value,), got ", PyTuple_GET_SIZE(args));
    }
    const double value = float_from(PyTuple_GET_ITEM(args, 0), "HostCell", "value");
    PyRef self = PyRef::checked(type->tp_alloc(type, 0));
    HostCell* cell = std::make_unique<HostCell>().release();
    cell->value.store(value);
    HostValue held(cell);
    cell->refs.fetch_sub(1, std::memory_order_relaxed);  // `held` is the owner now
    new (&reinterpret_cast<PyHostCell*>(self.get())->value) HostValue(std::move(held));
    return self.detach();
  });
}

void cell_dealloc(PyObject* self) noexcept {
  reinterpret_cast<PyHostCell*>(self)->value.~HostValue();
  Py_TYPE(self)->tp_free(self);
}

PyObject* cell_value(PyObject* self, void*) noexcept {
  return PyFloat_FromDouble(reinterpret_cast<PyHostCell*>(self)->value.get());
}

int cell_set_value(PyObject* self, PyObject* value, void*) noexcept {
  return guarded_int([&] {
    if (value == nullptr) fail<TypeError>("HostCell: value cannot be deleted");
    host_cell_of(self)->value.store(float_from(value, "HostCell", "value"));
    return 0;
  });
}

PyObject* cell_repr(PyObject* self) noexcept {
  const PyRef value(cell_value(self, nullptr));
  return value ? PyUnicode_FromFormat("HostCell(%R)", value.get()) : nullptr;
}

}  // namespace

void bind_host_cell(PyObject* module) {
  static PyGetSetDef properties[] = {
      {"value", cell_value, cell_set_value, "The number; a captured program sees a change at its next run.", nullptr},
      {nullptr, nullptr, nullptr, nullptr, nullptr},
  };
  PyTypeObject& t = begin_static_type(host_cell_type, "gorgo._core.HostCell", sizeof(PyHostCell),
                                      "A number that is read when a captured program runs, not when it is recorded.");
  t.tp_new = cell_new;
  t.tp_dealloc = cell_dealloc;
  t.tp_repr = cell_repr;
  t.tp_getset = properties;
  finish_static_type(t, module, "HostCell");
}

}  // namespace gorgo
