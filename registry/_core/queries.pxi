# Queries: reads of the registry that return many views or a definition.

cdef reg_reader *begin_read() except NULL:
    cdef reg_reader *reader = reg_read_begin()
    if reader == NULL:
        raise MemoryError
    return reader


# The result of a query over many backends.
cdef struct Found:
    reg_status status
    reg_views views
    reg_kept *kept  # a reservation that counts every view; NULL if out of memory


cdef inline void end_query(reg_registry *reg, reg_reader *reader, Found *found) noexcept nogil:
    """Ends the read before the GIL is reacquired, which may block."""
    found.kept = reg_read_keep(reg, reader, found.views.count)
    reg_read_end(reader)


cdef list views_from(Found *found):
    """Makes the list of views. Each view takes over one count of the reservation."""
    cdef size_t made = 0, count = found.views.count
    try:
        check(found.status if found.kept != NULL else REG_NO_MEMORY, None)
        result = PyList_New(count)
        while made < count:
            view = empty_view(<PyTypeObject *>view_class)
            fill_view(view, &found.views.items[made], found.kept)
            Py_INCREF(view)
            PyList_SET_ITEM(result, made, view)
            made += 1
        return result
    finally:
        if made < count and found.kept != NULL:
            reg_keep_drop(found.kept, count - made, release_object)
        reg_views_free(&found.views)


cdef list query_all(reg_registry *reg, bint healthy_only):
    """`RegistryCore.get_all_backends` and `get_healthy_backends`."""
    cdef Found found
    cdef reg_reader *reader = begin_read()
    with nogil:
        found.status = reg_get_all(reg, healthy_only, &found.views)
        end_query(reg, reader, &found)
    return views_from(&found)


cdef list query_model(reg_registry *reg, str model_id):
    """`RegistryCore.get_backends_for_model`."""
    cdef reg_key key
    cdef Found found
    if not has_key(model_id, &key):
        return []
    cdef reg_reader *reader = begin_read()
    with nogil:
        found.status = reg_get_for_model(reg, &key, &found.views)
        end_query(reg, reader, &found)
    return views_from(&found)


cdef list read_model_ids(reg_registry *reg):
    """`RegistryCore.models`."""
    cdef reg_model_ids ids
    cdef reg_status status
    cdef size_t i
    with nogil:
        status = reg_get_model_ids(reg, &ids)
    check(status, None)
    try:
        return [PyUnicode_DecodeUTF8(ids.items[i].data, ids.items[i].length, NULL)
                for i in range(ids.count)]
    finally:
        reg_model_ids_free(&ids)


cdef tuple read_definition(reg_registry *reg, str backend_id):
    """`RegistryCore._read`."""
    cdef reg_key key
    cdef reg_view view
    cdef reg_status status = REG_NOT_FOUND
    cdef reg_reader *reader
    if has_key(backend_id, &key):
        reader = begin_read()
        status = reg_get(reg, &key, &view)
        if status == REG_OK:
            Py_INCREF(<object>view.definition)
        reg_read_end(reader)
    check(status, backend_id)
    definition = <object>view.definition
    Py_DECREF(definition)
    return definition, view.serial
